"""The bench of filtering: the mixture has its shares, figures count as they are defined, and all are in the JSON."""

import argparse
import json
import random
from collections import Counter
from pathlib import Path

import filter_corpus as bench
import numpy as np
import pytest
from helpers.text import write_text

from cpu1.runtime import engine


@pytest.fixture
def source(tmp_path: Path) -> str:
    return str(write_text(tmp_path, 200))


def test_the_mixture_has_its_shares(source: str) -> None:
    asked = argparse.Namespace(clean=[source], foreign=[("Same", source)], documents=40, length=300, seed=1)
    documents = bench.mixed(asked)
    assert Counter(kind for kind, _ in documents) == {kind: 40 * share // 100 for kind, share in bench.SHARES.items()}
    assert all(len(text.encode()) <= 300 for _, text in documents)
    assert len({text for _, text in documents}) == len(documents)


def test_figures_are_counted_as_they_are_defined() -> None:
    clean = np.array([True] * 10 + [False] * 10)
    apart = np.arange(20.0)
    assert bench.at_break_even(clean, apart) == bench.precision_at(clean, apart) == 1
    assert bench.at_break_even(clean, -apart) == 0
    assert bench.kept_at(clean, apart, 0.9).sum() == 10  # a share between two documents keeps both
    mixed = np.array([0.0, 2, 4, 6, 8, 10, 12, 14, 16, 18, 1, 3, 5, 7, 9, 11, 13, 15, 17, 19])
    assert bench.at_break_even(clean, mixed) == 0.5
    assert bench.precision_at(clean, mixed) == 10 / 19  # all ten clean ones, and nine others before the last
    middle, low, high = bench.interval(bench.at_break_even, clean, mixed, seed=3)
    assert low < middle < high


def test_tables_are_of_columns() -> None:
    text = bench.table(400, ["apple", "river", "stone", "cloud", "mouse", "tower", "green"], random.Random(4))
    separators = [each for each in (" | ", "\t", "  ") if each in text.splitlines()[0]]
    assert len(separators) == 1
    assert len({line.count(separators[0]) for line in text.splitlines()}) == 1


@pytest.mark.skipif(not engine.available(), reason="installed without the native engine")
def test_json_has_every_figure(
    source: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(bench, "DRAWS", 20)
    words = ["--clean", source, "--foreign", f"Same={source}", "--documents", "20", "--length", "200", "--json"]
    monkeypatch.setattr("sys.argv", ["filter_corpus.py", *words])
    assert bench.main() == 0
    found = json.loads(capsys.readouterr().out)
    assert found["documents"] == 20
    assert set(found["methods"]) >= {"cpu1", "zstd -19"}
    for each in found["methods"].values():
        assert set(each["kept"]) == set(bench.SHARES)
        assert each["kept"]["clean"] >= bench.RECALL
        assert each["s_per_mb"] > 0


def test_too_little_text_is_one_line(
    source: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["--clean", source, "--foreign", f"Same={source}", "--documents", "100000"]
    monkeypatch.setattr("sys.argv", ["filter_corpus.py", *words])
    assert bench.main() == 2
    assert capsys.readouterr().err.count("\n") == 1
