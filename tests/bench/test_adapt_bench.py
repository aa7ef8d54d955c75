"""The bench of adapting, on a tiny case."""

import json
import sys

import adapt as bench
import pytest
from helpers.text import write_text
from helpers.tiny_model import tiny_model

from cpu1.adapting import training


def test_every_way_is_measured_on_text_that_none_has_seen(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("CPU1_MODEL", str(tiny_model(tmp_path / "tiny.cpu1")))
    monkeypatch.setattr(training, "SCRATCH", ("04", "demo"))
    text, out = write_text(tmp_path), tmp_path / "adapt.json"
    words = ["author", "--text", str(text), "--bytes", "30000", "--minutes", "0.02", "--threads", "1"]
    monkeypatch.setattr(sys, "argv", ["adapt.py", *words, "--out", str(out)])
    assert bench.main() == 0
    found = json.loads(out.read_text())["author"]
    assert 0.08 < found["held_out_bytes"] / 30_000 < 0.13
    rows = {row["way"]: row for row in found["rows"] if "way" in row}
    assert list(rows) == ["shipped", "shipped, learning", "reading", "trained", "trained, learning",
                          "trained, reading", "scratch"]  # fmt: skip
    assert rows["reading"]["bpb"] < rows["shipped, learning"]["bpb"] < rows["shipped"]["bpb"]
    assert rows["trained"]["bpb"] < rows["shipped"]["bpb"]
    assert rows["reading"]["file_bytes"] > rows["shipped"]["file_bytes"]
    assert [row["training"] for row in found["rows"] if "training" in row] == ["trained", "scratch"]


def test_a_text_is_cut_to_its_size(tmp_path):
    (tmp_path / "chat.jsonl").write_text('{"text": "one  two"}\n{"text": "three\\nfour"}\n')
    assert bench.text_of("radio", str(tmp_path / "chat.jsonl"), 100) == [b"one two\nthree four\n"]
    assert bench.text_of("radio", str(tmp_path / "chat.jsonl"), 10) == [b"one two\nth"]


def test_a_set_needs_its_text(monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["adapt.py", "radio"])
    with pytest.raises(SystemExit):
        bench.main()
    assert "radio needs --text" in capsys.readouterr().err
