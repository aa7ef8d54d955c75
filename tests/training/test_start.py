"""Going on from weights: what a run starts from, what it keeps of it, and when it needs it."""

import json
import re
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from helpers.jobs import SHORT, stop_at, weights
from helpers.text import write_text

import cpu1
from cpu1.cli import main
from cpu1.data.corpus import prepare
from cpu1.errors import UserError
from cpu1.evaluation.bits import context_bytes, score
from cpu1.evaluation.report import EXCERPT_BYTES
from cpu1.files import read_json, write_json
from cpu1.format.packed import open_packed, unpack
from cpu1.model import ladder
from cpu1.model.network import Model
from cpu1.runs.pack import pack_run
from cpu1.runs.trained import load
from cpu1.training.job import train
from cpu1.training.loop import Interrupted
from cpu1.training.plan import Budget, Job
from cpu1.training.start import RATE_SHARE, fitting, open_start


@pytest.fixture(scope="module")
def shared(tmp_path_factory):
    return tmp_path_factory.mktemp("start")


@pytest.fixture(scope="module")
def job(shared):
    text = write_text(shared)
    return Job(run=None, folder=shared / "unset", data=str(text), cache=shared / "cache", threads=1, overrides=SHORT,
               eval_bytes=2000)  # fmt: skip


@pytest.fixture(scope="module")
def source(job, shared):
    """A trained run 07, also packed with full-precision matrices as they are."""
    folder = shared / "source"
    train(replace(job, run="07", scale="demo", folder=folder))
    pack_run(folder, shared / "model.cpu1", "fp32")
    return folder


@pytest.fixture
def packed(source, shared):
    return shared / "model.cpu1"


def started(path: Path) -> Model:
    """The model that a run from `path` has before its first step."""
    start = open_start(path)
    model = Model(start.recipe)
    model.load_state_dict(fitting(start, start.recipe) or {})
    return model.eval()


def test_a_run_starts_where_its_source_ended(job, source, packed):
    """From a run folder to the bit; from a packed file what the file itself scores."""
    corpus = prepare(job.data, cache=job.cache)
    documents = corpus.select("valid", job.eval_bytes, EXCERPT_BYTES)
    wanted = read_json(source / "result.json")["bpb"]
    assert score(started(source), documents, context_bytes(64, "byte")).bpb == wanted
    whole = [document[:64] for document in documents]
    found = score(started(packed), whole, 64).bpb
    theirs = cpu1.load(packed)
    bits = sum(theirs.score(bytes(text)).sum() for text in whole)
    assert found == pytest.approx(bits / sum(map(len, whole)), abs=1e-5)


@pytest.mark.parametrize("kind", ["folder", "file"])
def test_resuming_needs_no_source_and_ends_bit_identical(job, source, packed, tmp_path, kind):
    copy = tmp_path / "copy"
    (shutil.copytree if kind == "folder" else shutil.copy)(source if kind == "folder" else packed, copy)
    job = replace(job, start=copy)
    train(replace(job, folder=tmp_path / "whole"))
    pieces = replace(job, folder=tmp_path / "pieces")
    with pytest.raises(Interrupted):
        train(pieces, stop_at(3))
    if kind == "folder":
        shutil.rmtree(copy)
    else:
        copy.write_bytes(b"something else")
    with pytest.raises(Interrupted):
        train(pieces, stop_at(8))
    result = train(pieces)
    assert weights(tmp_path / "pieces") == weights(tmp_path / "whole")
    assert (result["run"], result["scale"], result["round"], result["step"]) == ("07", "demo", "tuned", 12)
    assert train(pieces) == result  # done, still without the source


def test_what_is_learned_depends_on_the_weights_and_the_settings_say_so(job, source, packed, tmp_path):
    train(replace(job, start=source, folder=tmp_path / "a"))
    train(replace(job, start=packed, folder=tmp_path / "b"))
    train(replace(job, run="07", scale="demo", folder=tmp_path / "c"))
    a, b, c = (read_json(tmp_path / name / "settings.json") for name in "abc")
    assert a["start"] == open_start(source).content != b["start"]
    assert "start" not in c
    assert a["rate"] == ladder.SCALES["demo"].rate * RATE_SHARE == c["rate"] * RATE_SHARE
    assert len({weights(tmp_path / name) for name in "abc"}) == 3
    first = [json.loads((tmp_path / name / "metrics.jsonl").read_text().splitlines()[0])["loss"] for name in "abc"]
    assert first[0] == pytest.approx(first[1], rel=1e-3)
    assert abs(first[0] - first[2]) > 0.01 * first[2]
    assert cpu1.load(tmp_path / "a" / "model.cpu1").about["run"]["round"] == "tuned"


def test_without_a_budget_it_is_one_pass_over_the_text(job, source, tmp_path):
    result = train(replace(job, start=source, folder=tmp_path, overrides=(("batch", 64), ("window", 256))))
    size = prepare(job.data, cache=job.cache).splits["train"].size
    assert result["bytes_seen"] == pytest.approx(size, abs=64 * 256)


def test_a_changed_source_is_refused_while_there_is_no_checkpoint(job, source, packed, tmp_path):
    copy = Path(shutil.copy(packed, tmp_path / "model.cpu1"))
    part = replace(job, start=copy, folder=tmp_path / "run")
    with pytest.raises(Interrupted):
        train(part, stop_at(3))
    shutil.rmtree(tmp_path / "run" / "checkpoints")
    pack_run(source, copy, "bf16")
    with pytest.raises(UserError, match=r"model\.cpu1: its weights have changed since .*run was started"):
        train(part)
    copy.unlink()
    with pytest.raises(UserError, match="no such run folder or packed file"):
        train(part)


def test_a_token_model_keeps_its_tokenizer(job, shared, tmp_path):
    job = replace(job, overrides=(*SHORT[:2], ("window", 16)))
    train(replace(job, run="13", scale="demo", folder=tmp_path / "13"))
    other = tmp_path / "other.txt"
    other.write_text(Path(job.data).read_text()[:60_000].upper())
    pieces = replace(job, start=tmp_path / "13" / "model.cpu1", data=str(other), folder=tmp_path / "new")
    with pytest.raises(Interrupted):
        train(pieces, stop_at(3))
    (tmp_path / "13" / "model.cpu1").unlink()
    train(pieces)
    assert load(tmp_path / "new").tokenizer.merges == load(tmp_path / "13").tokenizer.merges


def test_what_only_a_teacher_needs_is_left_behind(job, source, tmp_path):
    train(replace(job, run="15", scale="demo", teacher=source, folder=tmp_path / "15"))
    train(replace(job, start=tmp_path / "15", folder=tmp_path / "alone"))
    assert load(tmp_path / "alone").recipe.distill is None
    train(replace(job, start=tmp_path / "15", teacher=source, folder=tmp_path / "taught"))
    assert load(tmp_path / "taught").recipe == load(tmp_path / "15").recipe


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"run": "04"}, r"source: run 07, and run 04 differs from it in embedding, residual, gate"),
        ({"run": "99"}, "no run '99' on the ladder"),
        ({"scale": "nano"}, "--scale nano: the weights of .*source are of scale demo"),
        ({"changes": (("layers", "4"),)}, r"source: has no tensor blocks\.3\."),
        ({"changes": (("gate", "none"),)}, r"source: has a tensor gate\."),
        ({"changes": (("head.hidden", "64"),)}, r"source: head\..* has shape .*, the recipe as changed by --with"),
        ({"start": Path("nowhere")}, "nowhere: no such run folder or packed file"),
    ],
)
def test_what_contradicts_the_weights_is_refused_and_nothing_begun(job, source, tmp_path, change, message):
    with pytest.raises(UserError, match=message):
        train(replace(job, **{"start": source, "folder": tmp_path / "new", **change}))
    assert not (tmp_path / "new").exists()


def test_a_run_of_the_same_recipe_may_give_its_name(job, source, tmp_path):
    result = train(replace(job, run="16", start=source, folder=tmp_path))
    assert (result["run"], result["scale"]) == ("16", "demo")


def test_folders_that_are_not_for_this_run(job, source, packed, tmp_path):
    with pytest.raises(UserError, match="is what --from names; give the new run a folder of its own"):
        train(replace(job, start=source, folder=source))
    unpack(open_packed(packed), tmp_path / "unpacked")
    before = sorted(path.name for path in (tmp_path / "unpacked").iterdir())
    with pytest.raises(UserError, match=r"unpacked from a file, not a run; .* with --from .*unpacked --out"):
        train(replace(job, run="07", scale="demo", folder=tmp_path / "unpacked"))
    assert sorted(path.name for path in (tmp_path / "unpacked").iterdir()) == before
    train(replace(job, start=tmp_path / "unpacked", folder=tmp_path / "new"))
    with pytest.raises(Interrupted):
        train(replace(job, run="07", scale="demo", folder=tmp_path / "scratch"), stop_at(3))
    with pytest.raises(UserError, match="holds a run that began from scratch"):
        train(replace(job, start=source, folder=tmp_path / "scratch"))


def test_a_file_of_an_unknown_run_is_refused(job, packed, tmp_path):
    unpack(open_packed(packed), tmp_path / "unpacked")
    write_json(tmp_path / "unpacked" / "unpacked.json", {"run": "mine"})
    with pytest.raises(UserError, match="its run 'mine' at scale '' is not of the ladder"):
        open_start(tmp_path / "unpacked")


def test_by_command_and_from_python(job, source, tmp_path, capsys):
    words = ["train", "--from", str(source), "--data", job.data, "--set", "steps=2", "--set", "batch=2", "--set",
             "window=64", "--eval-bytes", "2000", "--threads", "1"]  # fmt: skip
    assert main([*words, "--out", str(tmp_path / "new")]) == 0
    printed = capsys.readouterr().out
    assert "run_07" in printed
    assert re.search(r"before training: \d\.\d{4} bits per byte of the held-out text", printed)
    assert main(words) == 2
    assert "--from needs -o FOLDER" in capsys.readouterr().err
    assert main([*words, "--round", "r1", "--out", str(tmp_path / "other")]) == 2
    assert "--round r1: a round is a budget for training from scratch" in capsys.readouterr().err
    assert main(["train"]) == 2
    assert "name a RUN of the ladder" in capsys.readouterr().err
    again = cpu1.train(None, tmp_path / "python", start=source, data=job.data, threads=1, steps=2, batch=2, window=64)
    assert again["round"] == "tuned"
    assert torch.equal(*(load(tmp_path / name).model.embedding.bytes for name in ("new", "python")))


def test_a_budget_of_bytes_counts_from_the_start(job, source, tmp_path):
    sizes = (("batch", 2), ("window", 64))
    result = train(replace(job, start=source, folder=tmp_path, overrides=sizes, budget=Budget(bytes=1280)))
    assert result["step"] == 10
