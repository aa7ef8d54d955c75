"""Which model runs without -m, and how a command line names another."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
from helpers.bare import WITHOUT_LAB
from helpers.packing import packed_run

import cpu1
from cpu1.cli import main
from cpu1.errors import UserError
from cpu1.runs.studies import load_runs
from cpu1.runtime import default, engine

ROOT = Path(__file__).parents[2]
CHECKPOINTS = sorted((ROOT / "checkpoints").glob("*.cpu1"))


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    """Two packed models whose texts differ."""
    folder = tmp_path_factory.mktemp("packed")
    return packed_run("07", folder).path, packed_run("04", folder).path


@pytest.fixture
def place(tmp_path, monkeypatch):
    """An installation without a model, in a folder with a text."""
    monkeypatch.delenv(default.VARIABLE, raising=False)
    monkeypatch.setattr(default, "PACKAGE", tmp_path / "checkout" / "src" / "cpu1")
    monkeypatch.chdir(tmp_path)
    (tmp_path / "text.txt").write_text("Once upon a time")
    return tmp_path


def put(model: Path, to: Path) -> Path:
    to.parent.mkdir(parents=True, exist_ok=True)
    to.write_bytes(model.read_bytes())
    return to


def test_the_order_of_places(models, place, monkeypatch):
    with pytest.raises(UserError, match="CPU1_MODEL"):
        default.default_model()
    source = put(models[0], place / "checkout" / "checkpoints" / "default.cpu1")
    assert default.default_model() == source
    installed = put(models[0], place / "checkout" / "src" / "cpu1" / "default.cpu1")
    assert default.default_model() == installed
    monkeypatch.setenv(default.VARIABLE, str(models[1]))
    assert default.default_model() == models[1]
    monkeypatch.setenv(default.VARIABLE, "nowhere.cpu1")
    with pytest.raises(UserError, match=r"'nowhere\.cpu1', which does not exist"):
        default.default_model()


def test_checkpoints_beside_an_installed_package_are_not_taken(models, place, monkeypatch):
    monkeypatch.setattr(default, "PACKAGE", place / "lib" / "site-packages" / "cpu1")
    put(models[0], place / "lib" / "checkpoints" / "default.cpu1")
    with pytest.raises(UserError, match="none is installed"):
        default.default_model()


def test_generate_takes_the_prompt_by_place_and_the_model_by_name(models, place, monkeypatch, capsys):
    one, other = models
    monkeypatch.setenv(default.VARIABLE, str(one))

    def said(*words: str) -> str:
        assert main(["generate", *words, "--max-bytes", "24", "--temperature", "0"]) == 0
        return capsys.readouterr().out

    texts = {path: cpu1.load(path).generate("Once", max_bytes=24, temperature=0) + "\n" for path in models}
    assert said("Once") == said("Once", "-m", str(one)) == texts[one] != texts[other]
    assert said("Once", "-m", str(other)) == said("--model", str(other), "Once") == texts[other]
    assert said("--seed", "1", "Once", "-m", str(other)) == texts[other]  # options on both sides
    assert said() == said("") == said("-m", str(one))
    name = cpu1.load(one).generate("text.txt", max_bytes=24, temperature=0) + "\n"
    assert said("text.txt") == name  # that a file has this name makes no difference
    assert said("x" * 5000) != said("")


def test_a_model_as_the_prompt_is_refused_with_a_hint(models, place, monkeypatch, capsys):
    monkeypatch.setenv(default.VARIABLE, str(models[0]))
    for name in (str(models[1]), "typo.cpu1"):
        assert main(["generate", name]) == 2
        assert f"did you mean -m {name}?" in capsys.readouterr().err
    assert main(["generate", "the file model.cpu1", "--max-bytes", "8"]) == 0


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["generate", "x", "-m", "typo.cpu1"], "typo.cpu1: no such file"),
        (["generate", "Once upon"], "no model is named"),
        (["generate", "x", "-m", "text.txt"], "text.txt: "),
        (["score", "text.txt"], "no model is named"),
        (["bench"], "no model is named"),
        (["compress", "text.txt"], "no model is named"),
        (["check", "--words", "text.txt"], "no model is named"),
    ],
)
def test_bad_words_are_one_clear_line(place, words, message, capsys):
    assert main(words) == 2
    error = capsys.readouterr().err
    assert error.startswith("cpu1: ")
    assert message in error
    assert not (place / "text.txt.cpz").exists()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["generate", "a", "--colour"], "unrecognized arguments: --colour"),
        (["generate", "once", "upon", "a"], "put a prompt of several words in quotes; name a model with -m FILE"),
        (["bench", "model.cpu1"], "name a model with -m FILE"),
        (["check", "model.cpu1", "--words", "text.txt"], "name a model with -m FILE"),
        (["score", "-m", "a.cpu1"], "the following arguments are required: FILE"),
    ],
)
def test_surplus_words_are_refused_with_the_usage_of_the_command(words, message, capsys):
    with pytest.raises(SystemExit) as stopped:
        main(words)
    assert stopped.value.code == 2
    error = capsys.readouterr().err
    assert f"usage: cpu1 {words[0]}" in error
    assert message in error


def test_a_model_among_the_files_to_score_is_refused(capsys):
    assert main(["score", "model.cpu1", "text.txt"]) == 2
    assert "name a model with -m FILE" in capsys.readouterr().err


def test_score_bench_check_and_load_take_the_default(models, place, monkeypatch, capsys):
    monkeypatch.setenv(default.VARIABLE, str(models[0]))
    scores = []
    for words in (["text.txt"], ["text.txt", "-m", str(models[0])], ["--model", str(models[0]), "text.txt"]):
        assert main(["score", *words, "--json"]) == 0
        scores.append(json.loads(capsys.readouterr().out)["bits"])
    assert scores[0] == scores[1] == scores[2] == pytest.approx(cpu1.load().score(b"Once upon a time").sum())
    assert main(["check", "--words", "text.txt", "--bytes", "1k", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["model"] == models[0].name
    if engine.available():
        assert main(["bench", "--steps", "8", "--repeats", "3", "--json"]) == 0
        assert json.loads(capsys.readouterr().out)["file"] == str(models[0])


def test_the_default_needs_no_lab(models, monkeypatch):
    monkeypatch.setenv(default.VARIABLE, str(models[0]))
    words = [sys.executable, "-c", WITHOUT_LAB, "generate", "Once upon a time", "--max-bytes", "20"]
    assert subprocess.run(words, capture_output=True, check=True).stdout


@pytest.mark.parametrize("path", CHECKPOINTS, ids=lambda path: path.name)
def test_committed_checkpoints_run_and_have_cards(path):
    assert cpu1.load(path).generate("Once upon a time", max_bytes=40).strip()
    assert path.with_suffix(".md").is_file()


def test_committed_checkpoints_are_small():
    assert sum(path.stat().st_size for path in CHECKPOINTS) <= 40_000_000


def test_committed_checkpoints_are_runs_of_the_results():
    """Their sizes and figures are those of the files and of the committed results."""
    runs = [run for study in (ROOT / "results").glob("*.jsonl") for run in load_runs(study)]
    reached = [(run.key.folder, run.result.bpb, run.result.params) for run in runs if run.result]
    index = json.loads((ROOT / "checkpoints" / "index.json").read_text())
    assert {model["file"] for model in index["models"]} == {path.name for path in CHECKPOINTS}
    for model in index["models"]:
        assert (ROOT / "checkpoints" / model["file"]).stat().st_size == model["bytes"]
        about = cpu1.load(ROOT / "checkpoints" / model["file"]).about["run"]
        name = "{run}-{scale}-{round}-s{seed}".format(**model)
        assert name == "{run}-{scale}-{round}-s{seed}".format(**about)
        assert (name, model["bpb"], model["params"]) in reached
