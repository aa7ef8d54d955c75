"""The bench of typing: all ways at the same keys, and how many keys completions save."""

import json

import keystrokes as bench
import pytest
from helpers.text import write_text

from cpu1.runtime import engine


def test_saved_keys():
    text = " time of day."
    offers = [["x"], ["me", "ime"], ["me"], ["e"], [" of", " to"], ["of"], ["f"], [" day"], ["day"], ["ay"], ["y"], []]
    assert bench.saved(text, 0, offers, 1) == 1 + 2 + 3  # "me", " of", " day": a key each
    assert bench.saved(text, 0, offers, 2) == 2 + 2 + 3  # "ime" is right before
    assert bench.saved(text, 0, [[]] * 12, 2) == 0
    assert bench.saved("the bakery", 0, [["he"], ["e bak"], [], [" bake"], ["bake"], [], [], [], []], 1) == 1


def test_times_are_counted_below_their_bounds():
    found = bench.summary([(0.5, 0.4), (1.0, 0.9), (3.0, 2.0), (1e4, 5.0)])
    assert (found["keys"], found["p50_ms"], found["cpu_p50_ms"]) == (4, 2.0, 1.45)
    assert found["histogram"] == [1, 1, 1, 0, 0, 0, 0, 0, 0, 1]


@pytest.mark.skipif(not engine.available(), reason="installed without the native engine")
def test_json_has_every_way(monkeypatch, capsys, tmp_path):
    text = str(write_text(tmp_path))
    words = ["--text", text, "--keys", "12", "--passages", "1", "--json", "--out", str(tmp_path / "typing.json")]
    monkeypatch.setattr("sys.argv", ["keystrokes.py", *words])
    assert bench.main() == 0
    found = json.loads(capsys.readouterr().out)
    assert json.loads((tmp_path / "typing.json").read_text()) == found
    for context in ("0", "2048"):
        ways = found["contexts"][context]
        assert {name: row["keys"] for name, row in ways.items()} == {"kept": 12, "pipe": 12, "new": 2}
        assert all(sum(row["histogram"]) == row["keys"] for row in ways.values())
    assert 0 <= found["saved"]["1"] <= found["saved"]["5"] < 1


def test_too_short_a_text_is_one_line(monkeypatch, capsys, tmp_path):
    (tmp_path / "short.txt").write_text("Too short.\n")
    monkeypatch.setattr("sys.argv", ["keystrokes.py", "--text", str(tmp_path / "short.txt")])
    assert bench.main() == 2
    assert capsys.readouterr().err.count("\n") == 1
