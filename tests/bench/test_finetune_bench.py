"""The bench of going on from weights, on a tiny case."""

import json
import sys

import finetune as bench
import pytest
from helpers.text import write_text

from cpu1.training.job import train
from cpu1.training.plan import Job

TINY = (("steps", 6), ("batch", 2), ("window", 64))


def test_every_model_is_scored_before_and_after_on_both_texts(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("CPU1_CACHE", str(tmp_path / "cache"))
    text = write_text(tmp_path)
    other = tmp_path / "other.txt"
    other.write_bytes(text.read_bytes()[:40_000].upper())
    source = tmp_path / "04"
    result = train(Job("04", source, "demo", data=str(other), threads=1, overrides=TINY, eval_bytes=2000))
    words = ["--from", str(source), "--from", str(source / "model.cpu1"), "--data", str(text), "--other", str(other),
             "--bytes", "2k", "--set", "batch=2", "--set", "window=64", "--set", "rate=0.001", "--max-bytes", "2000",
             "--threads", "1", "--name", "tiny", "--out", str(tmp_path)]  # fmt: skip
    monkeypatch.setattr(sys, "argv", ["finetune.py", *words])
    assert bench.main() == 0
    assert "written:" in capsys.readouterr().out
    found = json.loads((tmp_path / "finetune-tiny.json").read_text())
    folder, packed, scratch = found["rows"]
    assert folder["before"]["other"]["bpb"] == pytest.approx(result["bpb"], abs=1e-9)
    assert packed["before"]["own"]["bpb"] == pytest.approx(folder["before"]["own"]["bpb"], abs=0.02)
    assert folder["after"]["own"]["bpb"] != packed["after"]["own"]["bpb"]
    assert (folder["rate"], scratch["rate"], scratch["start"]) == (0.001, 6e-3, None)
    assert folder["steps"] == packed["steps"] == scratch["steps"] == 16
    assert "before" not in scratch
    assert not (tmp_path / "scratch").exists()


def test_what_cannot_be_measured_is_said_in_one_line(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["finetune.py", "--from", "nowhere", "--data", "x", "--name", "y"])
    assert bench.main() == 2
    assert "nowhere: no such run folder or packed file" in capsys.readouterr().err
