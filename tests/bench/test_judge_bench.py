"""The bench of judging: damage by rule, areas and pairs counted as they are defined, every figure in the JSON."""

import json
import random

import judge as bench
import numpy as np
import pytest

from cpu1.runtime import engine

SENTENCE = "The keeper of the lighthouse counted the ships, and wrote {} of them into his book before it was dark. "


def test_noise_damages_the_share_that_is_asked_for():
    text = "x" * 20_000  # of which no error is longer than a character and a blank
    assert bench.noisy(text, 0, random.Random(1)) == text
    for share in (0.01, 0.1):
        damaged = bench.noisy(text, share, random.Random(1))
        gone = len(text) - damaged.count("x")
        blanks = damaged.count(" ")
        assert 0.8 * share < (gone + blanks) / len(text) < 1.2 * share
    assert bench.noisy("a\nb", 1, random.Random(1)).count("\n") == 1


def test_shuffled_sentences_keep_their_words():
    text = "One two three four five six. Seven eight nine ten?"
    found = bench.shuffled(text, random.Random(2))
    assert found != text
    assert sorted(found.split()) == sorted(text.split())
    assert {word.rstrip("?") for word in found.split()[6:]} == {"Seven", "eight", "nine", "ten"}


def test_an_area_is_a_share_of_pairs():
    chance = np.random.default_rng(3)
    good, bad = chance.integers(0, 9, 40).astype(float), chance.integers(2, 12, 30).astype(float)
    pairs = [(b > g) + 0.5 * (b == g) for g in good for b in bad]
    assert bench.auc(good, bad) == pytest.approx(np.mean(pairs))
    area, low, high = bench.auc_interval(good, bad, False, 0)
    assert low < area < high
    assert bench.auc_interval(good, good + 100, True, 0) == [1, 1, 1]
    assert bench.found_share(np.array([1.0, 2, 3, 4]), np.array([2.0, 2, 2, 5])) == 0.625


@pytest.fixture
def source(tmp_path):
    documents = [
        "".join(SENTENCE.format(day * 31 % 97) for day in range(start, start + 60)) for start in range(0, 600, 60)
    ]
    path = tmp_path / "clean.txt"
    path.write_text("\n\f\n".join(documents))
    return str(path)


@pytest.mark.skipif(not engine.available(), reason="installed without the native engine")
def test_json_has_every_figure(source, monkeypatch, capsys):
    monkeypatch.setattr(bench, "LENGTHS", (40, 80))
    monkeypatch.setattr(bench, "DRAWS", 20)
    monkeypatch.setattr(bench, "PAIRS", 1)
    words = ["--clean", source, "--foreign", f"Same={source}", "--passages", "3", "--jobs", "1", "--json"]
    monkeypatch.setattr("sys.argv", ["judge.py", *words])
    assert bench.main() == 0
    found = json.loads(capsys.readouterr().out)
    kinds = found["methods"]["cpu1"]["kinds"]
    assert {"OCR errors, 10%", "words shuffled", "Same", "random letters", "boilerplate", "Python code"} < set(kinds)
    assert kinds["random letters"]["80"]["auc"][0] == 1
    assert set(kinds["OCR errors, 1%"]["40"]) == {"auc", "found"}
    assert set(found["methods"]) >= {"cpu1", "zstd -19"}
    assert set(found["verdicts"]) == {"clean", *kinds}
    assert found["side_by_side"]["two_jobs_over_one"] > 0


def test_too_little_text_is_one_line(source, monkeypatch, capsys):
    monkeypatch.setattr("sys.argv", ["judge.py", "--clean", source, "--passages", "500"])
    assert bench.main() == 2
    err = capsys.readouterr().err
    assert err.count("\n") == 1
    assert "use fewer (--passages)" in err
