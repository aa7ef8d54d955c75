"""The bench of ternary and full-precision twins, on tiny runs."""

import json
import sys

import pytest
import torch
import twins as bench
from helpers.text import write_text

from cpu1.training.job import train
from cpu1.training.plan import Job

TINY = (("steps", 4), ("batch", 2), ("window", 64))


def test_a_full_precision_run_is_packed_three_times(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("CPU1_CACHE", str(tmp_path / "cache"))
    text = write_text(tmp_path)
    for name in ("04", "03"):
        train(Job(name, tmp_path / name, "demo", data=str(text), threads=1, overrides=TINY, eval_bytes=2000))
    out = tmp_path / "twins.json"
    words = [str(text), str(tmp_path / "04"), str(tmp_path / "03"), "--bytes", "4000", "--out", str(out)]
    monkeypatch.setattr(sys, "argv", ["twins.py", *words])
    assert bench.main() == 0
    rows = {row["weights"]: row for row in json.loads(out.read_text())["rows"]}
    assert list(rows) == ["ternary", "int8", "int4", "bf16"]
    sizes = [rows[weights]["file_bytes"] for weights in ("ternary", "int4", "int8", "bf16")]
    assert sizes == sorted(sizes)
    assert rows["ternary"]["file_bytes"] == (tmp_path / "04" / "model.cpu1").stat().st_size
    assert rows["int8"]["file_bytes"] == (tmp_path / "03" / "model.cpu1").stat().st_size
    assert [weights for weights, row in rows.items() if row["bytes_per_s"] is None] == ["int4"]
    assert rows["int8"]["window_bpb"] == pytest.approx(rows["bf16"]["window_bpb"], abs=0.02)
    assert rows["int4"]["window_bpb"] == pytest.approx(rows["bf16"]["window_bpb"], abs=0.1)
    assert rows["int4"]["window_bpb"] != rows["bf16"]["window_bpb"]
    assert "int4" in capsys.readouterr().out


def test_four_bits_are_sixteen_levels_of_both_signs():
    weight = torch.randn(8, 64, generator=torch.Generator().manual_seed(0))
    rounded = bench.in_four_bits(weight)
    assert rounded.shape == weight.shape
    for group in rounded.reshape(-1, bench.GROUP):
        levels = (group / group.abs().min()).round()  # the smallest level is half a step
        assert set(levels.abs().tolist()) <= set(range(1, 16, 2))
    assert (rounded - weight).square().mean() < 0.01 * weight.square().mean()


def test_a_folder_without_a_run_is_said_in_one_line(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("CPU1_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(sys, "argv", ["twins.py", str(write_text(tmp_path)), str(tmp_path / "none")])
    assert bench.main() == 2
    assert "none" in capsys.readouterr().err
