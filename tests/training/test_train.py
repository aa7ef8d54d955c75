"""Training: resumed runs equal undisturbed ones bit for bit, nothing is lost, and the guards do their work."""

import errno
import json
import shutil
import signal
import subprocess
import sys
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
import torch
from helpers.jobs import SHORT, stop_at, weights
from helpers.settings import PLAN
from helpers.text import write_text

from cpu1.data.corpus import prepare
from cpu1.errors import UserError
from cpu1.evaluation.report import evaluation
from cpu1.model import ladder
from cpu1.model.network import build
from cpu1.model.recipe import Recipe
from cpu1.runs.trained import load
from cpu1.training import checkpoint as checkpoint_module
from cpu1.training import guards
from cpu1.training.job import Job, train
from cpu1.training.loop import Interrupted, Reached
from cpu1.training.optim import optimizer as make_optimizer
from cpu1.training.parallel import Group
from cpu1.training.plan import Budget
from cpu1.training.step import Windowed
from cpu1.training.step import step as take_step


@pytest.fixture(scope="module")
def shared(tmp_path_factory):
    return tmp_path_factory.mktemp("text")


@pytest.fixture(scope="module")
def job(shared):
    """A short job at demo scale; tests replace what they are about."""
    text = write_text(shared)
    return Job(run="07", folder=shared / "unset", scale="demo", data=str(text), cache=shared / "cache", threads=1,
               overrides=SHORT, eval_bytes=2000)  # fmt: skip


@pytest.fixture(scope="module")
def teacher(job, shared):
    folder = shared / "teacher"
    train(replace(job, run="02", folder=folder))
    return folder


@pytest.mark.parametrize("run", ["01", "02", "04", "07", "10", "15", "18", "19"])
def test_an_interrupted_run_ends_bit_identical(job, teacher, tmp_path, run):
    job = replace(job, run=run, teacher=teacher if run == "15" else None)
    if run == "01":
        job = replace(job, overrides=(*SHORT[:2], ("window", 16)))
    whole = train(replace(job, folder=tmp_path / "whole"))
    pieces = replace(job, folder=tmp_path / "pieces")
    for step in (3, 8):
        with pytest.raises(Interrupted):
            train(pieces, stop_at(step))
    resumed = train(pieces)
    assert weights(tmp_path / "pieces") == weights(tmp_path / "whole")
    assert resumed["bpb"] == whole["bpb"]
    lines = [json.loads(line) for line in (tmp_path / "pieces" / "metrics.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines] == list(range(1, 13))


@pytest.mark.parametrize("run", ["01", "07"])
def test_a_run_that_stops_where_it_was_asked_to_leaves_no_trace_of_it(job, tmp_path, run):
    job = replace(job, run=run, overrides=(("steps", 16), ("batch", 2), ("window", 16 if run == "01" else 64)))
    train(replace(job, folder=tmp_path / "whole"))
    pieces = replace(job, folder=tmp_path / "pieces")
    for share, step in ((Fraction(1, 4), 4), (Fraction(1, 4), 4), (Fraction(1, 2), 8), (Fraction(1, 4), 8)):
        with pytest.raises(Reached):
            train(replace(pieces, until=share))
        assert max(path.name for path in (tmp_path / "pieces" / "checkpoints").iterdir()).startswith(f"{step:09d}")
    train(pieces)
    assert weights(tmp_path / "pieces") == weights(tmp_path / "whole")
    clock = {"seconds", "bytes_per_s"}
    whole, resumed = (
        [{key: value for key, value in json.loads(line).items() if key not in clock} for line in lines]
        for lines in ((tmp_path / name / "metrics.jsonl").read_text().splitlines() for name in ("whole", "pieces"))
    )
    assert resumed == whole


def test_a_share_that_is_no_step_is_refused(job, tmp_path):
    with pytest.raises(UserError, match="--until 1/64: of 12 steps that is none"):
        train(replace(job, folder=tmp_path / "run", until=Fraction(1, 64)))
    assert not (tmp_path / "run").exists()


KNOBS_TURNED = {
    "muon": (("optimizer", "muon"),),
    "ternary after a third": (("ternary_start", 0.34), ("schedule", "two-stage")),
    "z-loss": (("z_loss", 0.01), ("schedule", "cosine")),
}


@pytest.mark.parametrize("knobs", KNOBS_TURNED.values(), ids=list(KNOBS_TURNED))
def test_a_run_with_other_settings_ends_bit_identical_and_changes_what_is_learned(job, tmp_path, knobs):
    job = replace(job, run="05", overrides=SHORT)
    plain = train(replace(job, folder=tmp_path / "plain"))
    job = replace(job, overrides=(*SHORT, *knobs))
    whole = train(replace(job, folder=tmp_path / "whole"))
    for step in (2, 7):
        with pytest.raises(Interrupted):
            train(replace(job, folder=tmp_path / "pieces"), stop_at(step))
    train(replace(job, folder=tmp_path / "pieces"))
    assert weights(tmp_path / "pieces") == weights(tmp_path / "whole")
    assert whole["bpb"] != plain["bpb"]
    settings = json.loads((tmp_path / "whole" / "settings.json").read_text())
    assert dict(knobs).items() <= settings.items()
    assert not set(dict(knobs)) & set(json.loads((tmp_path / "plain" / "settings.json").read_text()))


def test_a_changed_recipe_is_trained_and_stands_in_the_folder(job, tmp_path):
    changes = (("ffn", "ReLU2"), ("layers", "2"), ("gate", "none"), ("head.hidden", "96"))
    result = train(replace(job, folder=tmp_path, changes=changes))
    recipe = Recipe.from_json(json.loads((tmp_path / "recipe.json").read_text()))
    assert (type(recipe.ffn).__name__, recipe.layers, recipe.gate, recipe.head.hidden) == ("ReLU2", 2, None, 96)
    assert load(tmp_path).recipe == recipe
    assert not (tmp_path / "model.cpu1").exists()  # the runtime has no such operation
    assert result["file_bytes"] == (tmp_path / "model.safetensors").stat().st_size


KILLED = """
import os, signal, sys
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from cpu1 import files
from cpu1.training.job import Job, train

folder, text, cache, moment = sys.argv[1:]
job = Job(run="07", folder=Path(folder), scale="demo", data=text, cache=Path(cache), threads=1, eval_bytes=2000,
          overrides=(("steps", 12), ("batch", 2), ("window", 64)), checkpoint_seconds=0.0)

def die(*_):
    os.kill(os.getpid(), signal.SIGKILL)

def report(line):
    if isinstance(line, dict) and line["step"] == 6:
        if moment == "between":
            die()
        if moment == "writing":
            os.fsync = die
        if moment == "renaming":
            os.replace = die

train(job, report)
"""


@pytest.mark.parametrize("moment", ["between", "writing", "renaming"])
def test_kill_9_loses_nothing(job, tmp_path, moment):
    """Killed between steps, inside a checkpoint's write, and just before its rename."""
    arguments = [str(tmp_path / "run"), job.data, str(job.cache), moment]
    killed = subprocess.run([sys.executable, "-c", KILLED, *arguments], capture_output=True, check=False)
    assert killed.returncode == -signal.SIGKILL, killed.stderr.decode()
    checkpoints = tmp_path / "run" / "checkpoints"
    assert list(checkpoints.glob("[0-9]*.safetensors"))
    assert len(list(checkpoints.glob(".*"))) == (moment != "between")
    with pytest.raises(Interrupted):
        train(replace(job, folder=tmp_path / "run"), stop_at(9))
    assert not list(checkpoints.glob(".*"))
    train(replace(job, folder=tmp_path / "run"))
    train(replace(job, folder=tmp_path / "whole"))
    assert weights(tmp_path / "run") == weights(tmp_path / "whole")


def test_a_damaged_newest_checkpoint_falls_back_to_the_one_before(job, tmp_path):
    part = replace(job, folder=tmp_path / "run", checkpoint_seconds=0.0)
    with pytest.raises(Interrupted):
        train(part, stop_at(7))
    older, newest = sorted((tmp_path / "run" / "checkpoints").iterdir())
    newest.write_bytes(newest.read_bytes()[:1000])
    train(part)
    train(replace(job, folder=tmp_path / "whole"))
    assert weights(tmp_path / "run") == weights(tmp_path / "whole")
    assert older.name == "000000006.safetensors"


def test_only_damaged_checkpoints_are_an_error(job, tmp_path):
    part = replace(job, folder=tmp_path / "run")
    with pytest.raises(Interrupted):
        train(part, stop_at(7))
    for path in (tmp_path / "run" / "checkpoints").iterdir():
        path.write_bytes(b"\xff" * 100)
    with pytest.raises(UserError, match="no readable checkpoint"):
        train(part)


def test_a_full_disk_keeps_the_checkpoint_before(job, tmp_path, monkeypatch):
    part = replace(job, folder=tmp_path / "run", checkpoint_seconds=0.0)
    write = checkpoint_module.write_atomic

    def full(path, data):
        if path.name.startswith("000000005"):
            raise OSError(errno.ENOSPC, "No space left on device")
        write(path, data)

    monkeypatch.setattr(checkpoint_module, "write_atomic", full)
    with pytest.raises(UserError, match="No space left on device"):
        train(part)
    monkeypatch.undo()
    assert "No space left" in json.loads((tmp_path / "run" / "error.json").read_text())["error"]
    train(part)
    train(replace(job, folder=tmp_path / "whole"))
    assert weights(tmp_path / "run") == weights(tmp_path / "whole")


def test_a_finished_run_is_returned_as_it_is(job, teacher):
    before = weights(teacher)
    result = train(replace(job, run="02", folder=teacher))
    assert result["run"] == "02"
    assert weights(teacher) == before


def test_result_holds_what_the_card_needs(job, teacher):
    result = json.loads((teacher / "result.json").read_text())
    for key in ("run", "scale", "round", "seed", "params", "units_seen", "bytes_seen", "corpus", "val_loss", "ppl",
                "bpb", "delta_uniform", "parent", "nonfinite_steps", "generation"):  # fmt: skip
        assert key in result, key
    assert result["units_seen"] == 12 * 2 * 64
    assert result["bpb"] == pytest.approx(result["val_loss"] / 0.6931471805599453)
    assert not (teacher / "checkpoints").exists()
    model = load(teacher).model
    assert sum(p.numel() for p in model.parameters()) == result["params"]


def test_a_finished_folder_of_another_recipe_is_not_taken_for_this_one(job, teacher):
    with pytest.raises(UserError, match=r"the folder holds a run with ffn = .*SwiGLU.*, asked for is .*ReLU2"):
        train(replace(job, run="02", folder=teacher, changes=(("ffn", "ReLU2"),)))


def content(folder):
    """Every file of a folder with its bytes."""
    return {path.relative_to(folder): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


@pytest.mark.parametrize(
    ("key", "asked"),
    [("seed", {"seed": 1}), ("rate", {"overrides": (*SHORT, ("rate", 1e-3))}), ("data", {"data": "other.txt"}),
     ("round", {"overrides": SHORT[1:], "budget": Budget(bytes=5000)}), ("width", {"scale": "nano"})],
)  # fmt: skip
@pytest.mark.parametrize("finished", [True, False])
def test_another_run_does_not_fit_into_a_folder(job, teacher, tmp_path, key, asked, finished):
    shutil.copytree(teacher, tmp_path / "run")
    if not finished:
        (tmp_path / "run/result.json").unlink()
    if "data" in asked:
        (tmp_path / "other.txt").write_bytes(Path(job.data).read_bytes().upper())
        asked = {"data": str(tmp_path / "other.txt")}
    before = content(tmp_path / "run")
    with pytest.raises(UserError, match=f"the folder holds a run with {key}.* = "):
        train(replace(job, run="02", folder=tmp_path / "run", **asked))
    assert content(tmp_path / "run") == before  # not even an error.json


def test_a_text_that_has_moved_is_the_same_text(job, tmp_path):
    (tmp_path / "there").mkdir()
    moved = shutil.copy(job.data, tmp_path / "there/text.txt")
    part = replace(job, folder=tmp_path / "run")
    with pytest.raises(Interrupted):
        train(part, stop_at(3))
    resumed = train(replace(part, data=str(moved)))
    assert train(replace(part, data=str(moved))) == train(part) == resumed  # done, from either place


@pytest.mark.parametrize("names", [["checkpoints/mine.pt"], ["model.safetensors"], ["notes.txt", "error.json"]])
def test_a_folder_that_is_no_run_is_left_alone(job, tmp_path, names):
    for name in names:
        (tmp_path / "out" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "out" / name).write_bytes(b"precious")
    before = content(tmp_path / "out")
    with pytest.raises(UserError, match=r"and no run; name a new or empty folder with --out"):
        train(replace(job, folder=tmp_path / "out"))
    assert content(tmp_path / "out") == before


@pytest.mark.parametrize("settings", ['{"editor.tabSize": 4}', "[1, 2]"])
def test_settings_of_another_program_are_left_alone(job, tmp_path, settings):
    (tmp_path / "settings.json").write_text(settings)
    with pytest.raises(UserError):
        train(replace(job, folder=tmp_path))
    assert content(tmp_path) == {Path("settings.json"): settings.encode()}


def test_a_file_is_not_a_run_folder(job, tmp_path):
    (tmp_path / "out").write_text("precious")
    with pytest.raises(UserError, match="is a file; name a folder"):
        train(replace(job, folder=tmp_path / "out"))


def test_only_own_checkpoints_are_removed(job, tmp_path):
    """What a user puts beside them stays, hidden files too."""
    part = replace(job, folder=tmp_path / "run")
    with pytest.raises(Interrupted):
        train(part, stop_at(3))
    theirs = {"mine.pt", ".gitkeep", "1.safetensors", "best/000000001.safetensors"}
    (tmp_path / "run/checkpoints/best").mkdir()
    for name in (*theirs, ".000000002.safetensors.half"):
        (tmp_path / "run/checkpoints" / name).write_bytes(b"precious")
    train(part)
    assert {str(path) for path in content(tmp_path / "run/checkpoints")} == theirs


def test_distillation_needs_a_teacher_that_reads_bytes(job, tmp_path):
    with pytest.raises(UserError, match="give --teacher"):
        train(replace(job, run="14", folder=tmp_path / "a"))
    with pytest.raises(UserError, match="no such run folder"):
        train(replace(job, run="14", folder=tmp_path / "b", teacher=tmp_path / "nowhere"))


def test_a_teacher_changes_what_is_learned(job, teacher, tmp_path):
    alone = train(replace(job, run="16", folder=tmp_path / "16"))
    taught = train(replace(job, run="14", folder=tmp_path / "14", teacher=teacher))
    hidden = train(replace(job, run="15", folder=tmp_path / "15", teacher=teacher))
    assert len({alone["bpb"], taught["bpb"], hidden["bpb"]}) == 3


def test_non_finite_steps_end_a_run_with_a_clear_error(job, tmp_path):
    with pytest.raises(guards.RunStopped, match="non-finite loss or gradient"):
        train(replace(job, run="03", folder=tmp_path, overrides=(("steps", 60), *SHORT[1:], ("rate", 1e30))))
    assert "non-finite" in json.loads((tmp_path / "error.json").read_text())["error"]


def test_what_is_evaluated_is_ternary_however_late_that_began(job, tmp_path):
    result = train(replace(job, run="04", folder=tmp_path, overrides=(*SHORT, ("ternary_start", 0.99))))
    corpus = prepare(job.data, field=job.field, cache=job.cache)
    again, _ = evaluation(load(tmp_path), corpus, "valid", 64, job.eval_bytes)
    assert again.bpb == pytest.approx(result["bpb"], abs=1e-6)


def test_a_short_run_of_non_finite_steps_is_no_result(job, tmp_path):
    with pytest.raises(guards.RunStopped, match=r"\d of 8 steps had a non-finite loss"):
        train(replace(job, run="03", folder=tmp_path, overrides=(("steps", 8), *SHORT[1:], ("rate", 1e30))))
    assert json.loads((tmp_path / "error.json").read_text())["kind"] == "RunStopped"


def test_a_model_without_finite_predictions_is_no_result(job, tmp_path):
    """The only step was finite, and made the weights so large that nothing can be predicted with them."""
    with pytest.raises(guards.RunStopped, match="diverged: after 1 steps held-out text scores nan"):
        train(replace(job, run="03", folder=tmp_path, overrides=(("steps", 1), *SHORT[1:], ("rate", 1e30))))


def test_a_non_finite_step_changes_nothing(job):
    """Neither weights nor the gate's controller: NaN there would stay, and spoil every step to come."""
    settings = replace(PLAN, window=64)
    model = build(ladder.recipe("07", "demo")).train()
    optimizer = make_optimizer(model, settings)
    batch = Windowed(torch.randint(1, 256, (1, 64)), np.zeros(1, np.int64))
    alone = Group(torch.device("cpu"))
    assert take_step(model, optimizer, batch, 0, settings, None, alone).finite
    with torch.no_grad():
        model.blocks[0].ffn.output.weight[0, 0] = torch.nan
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    assert not take_step(model, optimizer, batch, 1, settings, None, alone).finite
    for name, tensor in model.state_dict().items():
        assert torch.equal(tensor.nan_to_num(), before[name].nan_to_num()), name
    with torch.no_grad():
        model.blocks[0].ffn.output.weight[0, 0] = 0.0
    assert take_step(model, optimizer, batch, 2, settings, None, alone).finite


def test_a_run_that_does_not_learn_is_stopped_and_named(job, tmp_path):
    overrides = (("steps", 300), ("batch", 1), ("window", 32), ("rate", 1e-6))
    with pytest.raises(guards.RunStopped, match="stalled: at step 250"):
        train(replace(job, run="02a", folder=tmp_path, overrides=overrides))


def test_a_tensor_that_does_not_change_is_named(job):
    model = build(ladder.recipe("07", "demo"), 4)
    with torch.no_grad():
        for name, tensor in model.named_parameters():
            if name != "head.up":
                tensor.add_(0.1)
    with pytest.raises(guards.RunStopped, match=r"1 tensors have not changed: head\.up"):
        guards.check_all_tensors_learn(model, 4)


def test_ternary_watch_counts_zeros_and_flips():
    model = build(ladder.recipe("04", "demo"), 0)
    watch = guards.TernaryWatch()
    first = watch.measure(model)
    assert 0.2 < first["zero_fraction"] < 0.45  # |w| < 0.5 mean|w| for a normal: 0.31
    assert watch.measure(model)["flip_rate"] == 0
    with torch.no_grad():
        for block in model.blocks:
            block.ffn.input.weight.neg_()
    share = model.blocks[0].ffn.input.weight.numel() / sum(
        p.numel() for n, p in model.blocks[0].named_parameters() if n.endswith("weight")
    )
    assert watch.measure(model)["flip_rate"] == pytest.approx(share * (1 - first["zero_fraction"]), abs=0.02)
    assert guards.TernaryWatch().measure(build(ladder.recipe("03", "demo"))) == {}


@pytest.mark.parametrize("budget", [{}, {"bytes": 1, "minutes": 1}, {"bytes": 0}, {"minutes": float("inf")}])
def test_budgets_out_of_range_are_refused(budget):
    with pytest.raises(UserError, match="budget"):
        Budget(**budget)


def test_budgets_in_bytes_and_minutes(job, tmp_path):
    sizes = (("batch", 2), ("window", 64))
    result = train(replace(job, folder=tmp_path / "bytes", overrides=sizes, budget=Budget(bytes=1280)))
    assert result["step"] == 10
    assert 1270 <= result["bytes_seen"] <= 1280  # separators between documents are units, but not bytes of text
    timed = train(replace(job, folder=tmp_path / "minutes", overrides=sizes, budget=Budget(minutes=0.01)))
    assert 1 <= timed["step"] < 2000


def test_bpe_budget_in_bytes_counts_bytes_not_tokens(job, tmp_path):
    overrides = (("batch", 2), ("window", 16))
    result = train(replace(job, run="13", folder=tmp_path, overrides=overrides, budget=Budget(bytes=6000)))
    assert result["bytes_seen"] == pytest.approx(6000, rel=0.25)
    assert result["units_seen"] < result["bytes_seen"] / 1.5


def test_third_round_doubles_the_rate_of_ternary_weights(job, tmp_path):
    train(replace(job, folder=tmp_path, round="r3"))
    assert json.loads((tmp_path / "settings.json").read_text())["ternary_rate"] == 2.0


@pytest.mark.parametrize("precision", ["bf16", "fp32"])
def test_precision_of_products_is_a_setting(job, tmp_path, precision):
    result = train(replace(job, folder=tmp_path, overrides=(*SHORT, ("precision", precision))))
    assert result["nonfinite_steps"] == 0
    assert json.loads((tmp_path / "settings.json").read_text())["precision"] == precision


def test_unknown_settings_are_refused(job, tmp_path):
    with pytest.raises(UserError, match="--set colour=3"):
        train(replace(job, folder=tmp_path, overrides=(("colour", 3),)))
