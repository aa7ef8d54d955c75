"""`cpu1 adapt` as people call it: reading, training, an interrupt, refusals, and no torch."""

import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from helpers.bare import WITHOUT_LAB
from helpers.text import write_text
from helpers.tiny_model import tiny_model

import cpu1
from cpu1.adapting.folder import Folder
from cpu1.cli import main
from cpu1.runtime import adapter

ENVIRONMENT = {**os.environ, "OMP_NUM_THREADS": "1"}


@pytest.fixture(scope="module")
def shared(tmp_path_factory):
    return tmp_path_factory.mktemp("adapt")


@pytest.fixture(scope="module")
def text(shared):
    """98 KB in 40 documents."""
    return write_text(shared)


@pytest.fixture(scope="module")
def model(shared):
    return tiny_model(shared / "tiny.cpu1")


@pytest.fixture
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


def run(capsys, *words, status=0):
    assert main(["adapt", *map(str, words)]) == status
    out, err = capsys.readouterr()
    assert "Traceback" not in err
    return out, err


def figures(out: str) -> list[float]:
    return [float(number) for number in re.findall(r"([0-9.]+) bits per byte", out)]


def test_reading_writes_an_adapter_that_predicts_better(here, text, model, capsys):
    out, err = run(capsys, text, "-o", "mine.cpa", "-m", model, "--threads", 1)
    before, after = figures(out)
    assert after < before / 2
    assert "40 documents; held out: the end of each" in err
    assert [path.name for path in here.iterdir()] == ["mine.cpa"]
    learned = cpu1.load(model, learn=True)
    adapter.read(learned, "mine.cpa")
    line = b"A string literal is a sequence of characters."
    assert learned.score(line).sum() < cpu1.load(model, learn=True).score(line).sum() / 2
    assert main(["score", str(text), "-m", str(model), "--adapter", "mine.cpa"]) == 0


def test_the_name_of_a_model_becomes_that_of_an_adapter(here, text, model, capsys):
    run(capsys, text, "-o", "mine.cpu1", "-m", model, "--threads", 1)
    assert [path.name for path in here.iterdir()] == ["mine.cpa"]


def test_training_writes_a_model_that_predicts_better(here, text, model, capsys):
    out, err = run(capsys, text, "-o", "mine.cpu1", "-m", model, "--threads", 1, "--minutes", 0.1)
    before, after, learning = figures(out)
    assert after < before
    assert learning < before
    assert "before: " in err
    assert [path.name for path in here.iterdir()] == ["mine.cpu1"]
    assert cpu1.load("mine.cpu1").generate("The", max_bytes=8)
    assert main(["generate", "The", "-m", "mine.cpu1", "--max-bytes", "8"]) == 0


def test_a_small_model_can_begin_from_nothing(here, text, model, capsys, monkeypatch):
    from cpu1.adapting import training

    monkeypatch.setattr(training, "SCRATCH", ("04", "demo"))
    out, _ = run(capsys, text, "-o", "mine.cpu1", "-m", model, "--threads", 1, "--minutes", 0.1, "--scratch")
    assert figures(out)[1] < figures(out)[0]
    assert cpu1.load("mine.cpu1").about["run"]["run"] == "04"


def test_the_same_seed_gives_the_same_adapter(here, text, model, capsys):
    for name in ("a.cpa", "b.cpa"):
        run(capsys, text, "-o", name, "-m", model, "--threads", 1)
    assert Path("a.cpa").read_bytes() == Path("b.cpa").read_bytes()


def test_reading_needs_no_torch(here, text, model):
    words = ["adapt", str(text), "-o", "mine.cpa", "-m", str(model), "--threads", "1"]
    done = subprocess.run([sys.executable, "-c", WITHOUT_LAB, *words], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert Path("mine.cpa").exists()


def test_training_without_torch_names_what_is_missing(here, text, model):
    words = ["adapt", str(text), "-o", "mine.cpu1", "-m", str(model), "--minutes", "1"]
    done = subprocess.run([sys.executable, "-c", WITHOUT_LAB, *words], capture_output=True, text=True)
    assert done.returncode == 2
    assert done.stderr == (
        "cpu1: --minutes needs torch: pip install 'cpu1[lab]'. Without --minutes the model reads the text, "
        "which needs no torch\n"
    )
    assert not list(here.iterdir())


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["{text}", "-o", "{text}"], "is what is read here"),
        (["{text}", "-o", "{model}", "--minutes", "1"], "is what is read here"),
        (["{text}", "-o", "mine.cpa", "--minutes", "1"], "with --minutes a model is written"),
        (["{text}", "-o", "mine.cpu1", "--minutes", "0"], "must be a positive number"),
        (["{text}", "-o", "mine.cpu1", "--minutes", "nan"], "must be a positive number"),
        (["{text}", "-o", "mine.cpa", "--scratch"], "--scratch needs --minutes"),
        (["short.txt", "-o", "mine.cpa"], "300 bytes of text are too few; at least 8,192 are needed"),
        (["middle.txt", "-o", "mine.cpu1", "--minutes", "1"], "at least 32,768 are needed"),
        (["picture.png", "-o", "mine.cpa"], "many NUL bytes"),
        (["none.txt", "-o", "mine.cpa"], "none.txt"),
        ([".", "-o", "mine.cpa"], "lies in ., which is read as text"),
        (["{text}", "-o", ".."], "..: is a folder; name a file"),
        (["-", "-", "-o", "mine.cpa"], "standard input can be read only once"),
        (["{text}", "-o", "mine.cpu1", "--minutes", "1", "-m", "picture.png"], "picture.png"),
        (["{text}", "-o", "mine.cpa", "-m", "picture.png"], "picture.png"),
    ],
)
def test_refusals_are_one_line_and_write_nothing(here, text, model, capsys, words, message, recwarn):
    Path("short.txt").write_text("x" * 300)
    Path("middle.txt").write_text("a line of text\n" * 1000)
    Path("picture.png").write_bytes(b"\x89PNG\0\0\0" * 20_000)
    there = sorted(here.iterdir())
    inputs = {path: path.read_bytes() for path in (text, model)}
    given = [word.format(text=text, model=model) for word in words]
    if "-m" not in given:
        given += ["-m", str(model)]
    _, err = run(capsys, *given, status=2)
    lines = [line for line in err.splitlines() if not line.startswith(("cpu1: note:", "text: "))]
    assert len(lines) == 1
    assert message in lines[0]
    assert sorted(here.iterdir()) == there
    assert all(path.read_bytes() == data for path, data in inputs.items())


def test_a_run_of_no_ladder_cannot_be_trained_on(here, text, model, capsys, tmp_path_factory):
    from helpers.packing import packed_run

    foreign = packed_run("04", tmp_path_factory.mktemp("foreign")).path
    _, err = run(capsys, text, "-o", "mine.cpu1", "-m", foreign, "--minutes", 1, status=2)
    assert "nothing says how to train it" in err
    assert not list(here.iterdir())


def started(here: Path, *words: object) -> subprocess.Popen[str]:
    call = [sys.executable, "-m", "cpu1", "adapt", *map(str, words)]
    return subprocess.Popen(call, cwd=here, env=ENVIRONMENT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def wait_for(found, process: subprocess.Popen[str]) -> None:
    while not found():
        assert process.poll() is None, process.communicate()[1]
        time.sleep(0.02)


def test_an_interrupted_training_packs_the_best_and_continues(here, text, model):
    """Ctrl-C, then kill -9, then Ctrl-C: the plan stays, and what was seen is not seen again."""
    Path("text.txt").write_bytes(text.read_bytes()[:40_000])
    words = ["text.txt", "-o", "mine.cpu1", "-m", model, "--threads", 1, "--minutes", 5]
    folder = Folder(here / "mine.cpu1")
    sizes = []
    for ending in (signal.SIGINT, signal.SIGKILL, signal.SIGINT):
        known = folder.looks().looks[-1].step if folder.path.exists() else -1
        process = started(here, *words)
        wait_for(lambda known=known: has_seen_more(folder, known), process)
        process.send_signal(ending)
        _, err = process.communicate()
        if ending == signal.SIGINT:
            assert process.returncode == 130
            assert "mine.cpu1 is the best so far" in err
            assert "the same command continues" in err
            assert ("before: " in err) == (not sizes)
            sizes.append((folder.plan(), folder.looks().best.bits_per_byte))
            assert cpu1.load("mine.cpu1").about["run"]["round"] == "tuned"
    (plan, early), (same, late) = sizes
    assert same == plan
    assert late < early


def has_seen_more(folder: Folder, step: int) -> bool:
    return folder.plan() is not None and folder.looks().looks[-1].step > max(step, 0)


def test_two_processes_do_not_train_in_one_folder(here, text, model, capsys):
    words = [text, "-o", "mine.cpu1", "-m", model, "--threads", 1, "--minutes", 0.5]
    first = started(here, *words)
    wait_for((here / "mine.cpu1.adapting" / "looks.json").exists, first)
    _, err = run(capsys, *words, status=2)
    assert "another process trains here" in err
    first.kill()
    first.communicate()


def test_an_interrupted_reading_keeps_what_was_read(here, text, model, capsys, monkeypatch):
    from cpu1.adapting import reading

    def some(text: bytes):
        yield text[:2000]
        raise KeyboardInterrupt

    monkeypatch.setattr(reading, "pieces", some)
    _, err = run(capsys, text, "-o", "mine.cpa", "-m", model, "--threads", 1, status=130)
    assert "has what was read until then" in err
    learned = cpu1.load(model, learn=True)
    adapter.read(learned, "mine.cpa")
    read = text.read_bytes()[:2000]
    assert learned.score(read).sum() < 0.7 * cpu1.load(model, learn=True).score(read).sum()
