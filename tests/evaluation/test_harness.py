"""lm-evaluation-harness with packed models: the counts of `cpu1 check`, from local files and without torch."""

import importlib.metadata
import json
import subprocess
import sys

import numpy as np
import pytest
from helpers.bare import without
from helpers.packing import packed_run

from cpu1.cli import main
from cpu1.errors import UserError
from cpu1.evaluation.language import blimp, lambada
from cpu1.runtime.model import Model

lm_eval = pytest.importorskip("lm_eval")

from lm_eval.api.instance import Instance  # noqa: E402
from lm_eval.tasks import TaskManager  # noqa: E402

from cpu1.evaluation.language.harness import sources  # noqa: E402
from cpu1.evaluation.language.harness.model import NAME, Cpu1  # noqa: E402

WORDS = ["The", "A", "One", "Every", "No", "Some", "Who", "What", "Why"]
PASSAGES = ["He saw the old man and the\n\nsea", "To be or not to be, that is the question  ", "Où est la clé ?"]
ENDINGS = [
    {"context": "The cat sat", "endings": ["on the mat.", "mat the on.", "."], "label": 0},
    {"ctx": "Once upon", "endings": ["tmie", "a time"], "label": "1"},
]
TEXT = "It was the best of times.\n\n" * 20


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    """A byte model with random weights."""
    return Model(packed_run("07", tmp_path_factory.mktemp("packed")).path)


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """A file for each task: three invented pairs of each paradigm, one of which is equal."""
    folder = tmp_path_factory.mktemp("files")
    pairs = [
        {"uid": uid, "good": f"{word} {uid} is here.", "bad": f"{word} {uid} {verb} here."}
        for number, uid in enumerate(blimp.PHENOMENON)
        for word, verb in zip((WORDS * 2)[number % 9 :][:3], ("are", "is", "been"), strict=True)
    ]
    rows = {"blimp": pairs, "lambada": [{"text": text} for text in PASSAGES], "endings": ENDINGS}
    for name, found in rows.items():
        (folder / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in found))
    (folder / "text.txt").write_text(TEXT)
    return {name: str(folder / f"{name}.jsonl") for name in rows} | {"text": str(folder / "text.txt")}


def evaluated(model, key, files, threads=1, **more):
    return lm_eval.simple_evaluate(
        model=NAME,
        model_args={"path": str(model.path), "threads": threads},
        tasks=list(sources.FILES[key]),
        task_manager=TaskManager(include_path=str(sources.TASKS), include_defaults=False, metadata=files),
        bootstrap_iters=0,
        **more,
    )


def requests(*arguments):
    return [Instance("loglikelihood", {}, each, 0) for each in arguments]


def test_every_set_of_pairs_has_the_counts_of_check(model, files):
    found = evaluated(model, "blimp", files, threads=2)["results"]
    checked = blimp.check(model, blimp.read_pairs(files["blimp"]))
    for phenomenon, row in checked["phenomena"].items():
        for uid, share in row["paradigms"].items():
            assert found[f"cpu1_blimp::{phenomenon}::{uid}"]["acc,none"] == pytest.approx(share)
        assert found[f"cpu1_blimp::{phenomenon}"]["acc,none"] == pytest.approx(row["accuracy"])
    assert found["cpu1_blimp"]["acc,none"] == pytest.approx(checked["accuracy"])
    assert 0 < checked["accuracy"] <= 2 / 3  # the equal pairs are wrong in both


def test_last_words_have_the_counts_of_check(model, files):
    found = evaluated(model, "lambada", files)["results"]
    checked = lambada.check(model, lambada.read_passages(files["lambada"]))
    assert found["cpu1_lambada"]["acc,none"] == checked["begun"]
    assert found["cpu1_lambada_written"]["acc,none"] == checked["accuracy"]
    assert found["cpu1_lambada"]["perplexity,none"] == pytest.approx(checked["perplexity"])


@pytest.mark.parametrize(("written", "right"), [(" sea.", 1), (" seas", 0), (" sea\ufffd", 0), (" se", 0)])
def test_a_last_word_ends(written, right):
    assert sources.last_word({"target": " sea"}, [written]) == {"acc": right}


def test_endings_are_chosen_by_what_they_cost(model, files):
    samples = evaluated(model, "endings", files, log_samples=True)["samples"]["cpu1_endings"]
    for sample, row in zip(samples, ENDINGS, strict=True):
        context = row.get("context", row.get("ctx"))
        for (answer, _), ending in zip(sample["filtered_resps"], row["endings"], strict=True):
            bits = model.score(f"{context} {ending}")[len(context) :].sum()
            assert float(answer) == pytest.approx(-bits * np.log(2))
        best = np.argmax([float(answer) for answer, _ in sample["filtered_resps"]])
        assert sample["acc"] == (best == sample["target"])


def test_a_text_costs_what_score_gives(model, files, tmp_path):
    found = evaluated(model, "text", files)["results"]["cpu1_text"]
    assert found["bits_per_byte,none"] == pytest.approx(model.score(TEXT).mean())
    (tmp_path / "two.jsonl").write_text('{"text": "One."}\n{"text": "And another."}\n')
    found = evaluated(model, "text", {"text": str(tmp_path / "two.jsonl")})["results"]["cpu1_text"]
    bits = np.concatenate([model.score("One."), model.score("And another.")])
    assert found["bits_per_byte,none"] == pytest.approx(bits.mean())


def test_requests_are_answered_in_their_order(model):
    texts = [(f"{word} {number}", f" and {number * 7}") for number in range(300) for word in WORDS[:2]]
    lm = Cpu1(model.path, threads=2)
    found = lm.loglikelihood(requests(*texts, ("", "")), disable_tqdm=True)
    for (context, target), (answer, _) in list(zip(texts, found, strict=False))[::97]:
        assert answer == pytest.approx(-np.log(2) * model.score(context + target)[len(context) :].sum())
    assert found[-1] == (0, True)


def test_texts_are_written_as_generate_writes_them(model):
    asked = [
        ("Once", {"until": ["\n\n"], "max_gen_toks": 20}),
        ("Once", {"until": "e", "temperature": 0.9, "seed": 4, "max_gen_toks": 30}),
        ("Once", {"until": ["", "q"], "do_sample": False, "temperature": 1.0, "max_new_tokens": 9}),
        ("", {"num_beams": 1}),
    ]
    found = Cpu1(model.path, threads=2).generate_until(requests(*asked), disable_tqdm=True)
    assert found == [
        model.generate("Once", 20, ["\n\n"], temperature=0),
        model.generate("Once", 30, ["e"], temperature=0.9, seed=4),
        model.generate("Once", 9, ["q"], temperature=0),
        model.generate("", 256, temperature=0),
    ]


def test_more_texts_than_are_written_at_once(model):
    asked = [(word * (number + 1), {"max_gen_toks": number}) for number in range(20) for word in WORDS]
    found = Cpu1(model.path).generate_until(requests(*asked), disable_tqdm=True)
    for (context, settings), text in list(zip(asked, found, strict=True))[::31]:
        assert text == model.generate(context, settings["max_gen_toks"], temperature=0)


@pytest.mark.slow
def test_a_cache_of_the_harness_is_used(model, files, tmp_path):
    cache = str(tmp_path / "cache")
    one, other = (evaluated(model, "lambada", files, use_cache=cache)["results"] for _ in range(2))
    assert one == other


def test_the_harness_finds_the_model_by_its_entry_point():
    (found,) = (e for e in importlib.metadata.entry_points(group="lm_eval.models") if e.name == NAME)
    assert found.load() is Cpu1


@pytest.mark.slow
def test_the_verb_runs_the_harness_without_torch(model, files, tmp_path):
    words = ["lm-eval", "--lambada", files["lambada"], "--model_args", f"path={model.path},threads=2", "--limit", "2",
             "--output_path", str(tmp_path / "found.json")]  # fmt: skip
    words = [sys.executable, "-c", without("torch", "transformers"), *words]
    done = subprocess.run(words, capture_output=True, text=True, check=False, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "cpu1_lambada_written" in done.stdout
    assert "Custom kwargs" not in done.stderr
    (written,) = tmp_path.glob("found*.json")
    found = json.loads(written.read_text())
    assert found["n-samples"]["cpu1_lambada"]["effective"] == 2
    assert found["config"]["model_file"] == model.path.name


@pytest.mark.slow
def test_other_commands_of_the_harness_pass(capsys, monkeypatch):
    monkeypatch.setattr(sys, "argv", sys.argv)
    assert main(["lm-eval", "validate", "--tasks", "cpu1_lambada"]) == 0
    assert "cpu1_lambada" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({"context": "a", "endings": ["b"]}, "'label' is None"),
        ({"context": "a", "endings": ["b"], "label": 1}, "from 0 to 0"),
        ({"context": "a", "endings": "b", "label": 0}, "line 1: needs a context"),
        ({"context": "a\ud800", "endings": ["b"], "label": 0}, "not Unicode"),
    ],
)
def test_endings_that_are_none_are_named(tmp_path, content, message):
    (tmp_path / "rows.jsonl").write_text(json.dumps(content))
    with pytest.raises(UserError, match=message):
        sources.endings(str(tmp_path / "rows.jsonl"))


@pytest.mark.parametrize(
    ("words", "message"), [([], "nothing to evaluate"), (["--lambada", "none.jsonl"], "none.jsonl: no such file")]
)
def test_what_is_missing_is_named_at_once(words, message, capsys):
    assert main(["lm-eval", *words]) == 2
    assert message in capsys.readouterr().err


@pytest.mark.slow
def test_what_is_wrong_is_one_line(files, monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", sys.argv)
    assert main(["lm-eval", "--lambada", files["lambada"], "--model_args", "size=3"]) == 2
    error = capsys.readouterr().err.splitlines()[-1]
    assert error == "cpu1: model_args: cpu1 has no size; it has path, threads and arithmetic"


def test_a_task_without_its_file_names_the_option(tmp_path):
    with pytest.raises(UserError, match="cpu1 lm-eval --text FILE"):
        sources.text()
    with pytest.raises(UserError, match="cpu1_lambada and cpu1_lambada_written read a file"):
        sources.lambada()


def test_pairs_of_other_sets_are_no_blimp(tmp_path):
    (tmp_path / "one.jsonl").write_text('{"uid": "mine", "good": "a", "bad": "b"}\n')
    with pytest.raises(UserError, match="no pair with uid 'wh_island'"):
        sources.blimp("wh_island", str(tmp_path / "one.jsonl"))
