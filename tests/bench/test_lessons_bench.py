"""The bench that says how much of a gradient's noise lessons take away."""

import json

import lessons as bench
import pytest
import torch
from helpers.text import write_text

from cpu1 import device as devices
from cpu1.data.corpus import prepare
from cpu1.teachers.own_run import OwnRun
from cpu1.teachers.teach import teach
from cpu1.training.job import Job, train


@pytest.fixture(scope="module")
def taught(tmp_path_factory):
    """A trained run, its text, and its own predictions of it as lessons."""
    space = tmp_path_factory.mktemp("lessons")
    text = write_text(space)
    job = Job(run="02", folder=space / "run", scale="demo", data=str(text), cache=space / "cache", threads=1,
              overrides=(("steps", 20), ("batch", 2), ("window", 256)), eval_bytes=2000)  # fmt: skip
    train(job)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(devices, "fast_precision", lambda _: "fp32")
        patch.setenv("CPU1_CACHE", str(space / "cache"))
        teach(OwnRun(space / "run"), prepare(str(text)), space / "lessons", top_k=64, window=256)
    return space / "run", text, space / "lessons"


def test_the_estimates_are_without_bias():
    """Of gradients with a known mean and variance, over many draws of four."""
    torch.manual_seed(0)
    mean = torch.tensor([3.0, 0.0, -1.0])
    found = []
    for _ in range(4000):
        moments = bench.Moments(torch.zeros(3))
        for _ in range(4):
            moments.add(mean + torch.randn(3) * torch.tensor([1.0, 2.0, 3.0]))
        found.append(moments.estimate())
    noise, signal = torch.tensor(found).mean(0).tolist()
    assert noise == pytest.approx(14, rel=0.03)
    assert signal == pytest.approx(10, rel=0.05)


def test_a_run_that_teaches_itself_leaves_hardly_any_noise(taught, capsys, monkeypatch):
    run, text, lessons = taught
    monkeypatch.setenv("CPU1_CACHE", str(run.parent / "cache"))
    monkeypatch.setattr("sys.argv", ["lessons.py", str(run), "--data", str(text), "--teacher-cache", str(lessons),
                                     "--windows", "8", "--alpha", "0,0.5,1", "--json"])  # fmt: skip
    assert bench.main() == 0
    found = json.loads(capsys.readouterr().out)
    text_alone, half, lesson_alone = found["rows"]
    assert text_alone["of_first"] == 1
    assert half["of_first"] == pytest.approx(0.25, abs=0.02)  # half the gradient, a quarter of its square
    assert lesson_alone["of_first"] < 0.03  # of windows that begin elsewhere, and rounding
    assert (found["run"], found["windows"], found["window"]) == ("02", 8, 256)


def test_bad_input_is_one_line(taught, capsys, monkeypatch):
    run, text, lessons = taught
    common = ["--data", str(text), "--teacher-cache", str(lessons)]
    monkeypatch.setattr("sys.argv", ["lessons.py", str(run.parent / "none"), *common])
    assert bench.main() == 2
    assert "no such run folder" in capsys.readouterr().err
    monkeypatch.setattr("sys.argv", ["lessons.py", str(run), *common, "--alpha", "x"])
    with pytest.raises(SystemExit):
        bench.main()
    assert "numbers with commas" in capsys.readouterr().err
