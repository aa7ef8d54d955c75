"""The bench that times the ladder's runs in turn."""

import json

import generation as bench
import pytest

from cpu1.model import ladder


def run(monkeypatch, *words: str) -> int:
    monkeypatch.setattr("sys.argv", ["generation.py", *words])
    return bench.main()


def test_runs_are_timed_beside_their_parents(monkeypatch, capsys):
    assert run(monkeypatch, "--scale", "demo", "--runs", "06,07,06", "--repeats", "5", "--json") == 0
    found = json.loads(capsys.readouterr().out)
    parent, gated = found["rows"]
    assert (parent["run"], gated["run"], found["scale"]) == ("06", "07", "demo")
    assert parent["over_parent"] is None  # 05 was not asked for
    assert gated["over_parent"] > 0
    assert parent["deleted"] == 0
    assert 0.15 < gated["deleted"] < 0.45
    assert min(parent["bytes_per_s"], gated["prompt_bytes_per_s"], parent["file_bytes"]) > 0
    assert "07" in bench.table(found)


def test_all_runs_that_read_bytes_are_the_default():
    assert set(bench.choose(None)) == set(ladder.LADDER) - {"01", "13"}


@pytest.mark.parametrize(("words", "message"), [(["--runs", "01"], "reads tokens"), (["--runs", "99"], "99"),
                                                (["--scale", "huge"], "huge")])  # fmt: skip
def test_bad_input_is_one_line(monkeypatch, capsys, words, message):
    assert run(monkeypatch, *words) == 2
    found = capsys.readouterr().err
    assert message in found
    assert found.count("\n") == 1
