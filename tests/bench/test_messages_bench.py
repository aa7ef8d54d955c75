"""The benches of short messages: sets by rule, and figures of every codec on them."""

import json
from pathlib import Path

import message_sets
import messages as bench
import pytest
from helpers.pages import ROOT

from cpu1.messages import Codec, to_text
from cpu1.runtime import engine

BOOK = '“I never said\nthat, sir.” He left. "No more of this today!" she cried. “Hm”'
TECH = "# Title\n\nThe lock is held while version 2.1 of it is read. It is released at the end of it.\ncode = `x`.\n"


def test_messages_are_found_by_rule():
    assert list(message_sets.dialogue(BOOK)) == ["I never said that, sir.", "No more of this today!"]
    assert list(message_sets.sentences(TECH)) == [
        "The lock is held while version 2.1 of it is read.",
        "It is released at the end of it.",
    ]
    assert list(message_sets.records('{"text": "a  b"}\n{"text": "c"}\n')) == ["a b", "c"]
    assert message_sets.spaced([b"a", b"b", b"c", b"d"], 2) == [b"a", b"c"]
    assert message_sets.fitting(["long enough " * 3, "short", "long enough " * 3], 20) == [b"long enough " * 3]


def test_sets_are_written(monkeypatch, tmp_path, capsys):
    for name, text in (("a.txt", BOOK), ("b.txt", BOOK + "“Quite another thing, this.”")):
        (tmp_path / name).write_text(text)
    words = [str(tmp_path / "sets"), "--dialogue", str(tmp_path / "a.txt"), str(tmp_path / "b.txt")]
    monkeypatch.setattr("sys.argv", ["message_sets.py", *words])
    message_sets.main()
    assert (tmp_path / "sets/dialogue.test.txt").read_text() == "Quite another thing, this.\n"
    assert "2 messages" in capsys.readouterr().out


@pytest.mark.skipif(not engine.available(), reason="installed without the native engine")
def test_json_has_every_codec(monkeypatch, capsys, tmp_path: Path):
    lines = (ROOT / "examples" / "messages.txt").read_text().splitlines()
    # zstd asks for more than a few lines to make a dictionary of
    (tmp_path / "boat.sample.txt").write_text("".join(f"{line}, day {i}\n" for i in range(300) for line in lines))
    (tmp_path / "boat.test.txt").write_text("\n".join(lines[:3]))
    monkeypatch.setattr("sys.argv", ["messages.py", str(tmp_path), "--json"])
    assert bench.main() == 0
    found = json.loads(capsys.readouterr().out)["sets"]["boat"]
    assert {"zlib", "zlib, preset", "zstd -19", "zstd -19, dictionary", "cpu1"} <= set(found["methods"])
    ours = found["methods"]["cpu1"]
    assert ours["bytes"] == pytest.approx(sum(len(Codec().encode(line)) for line in lines[:3]) / 3)
    assert ours["share"] < found["methods"]["zlib"]["share"] < 1.01
    assert found["text_forms"]["ours, base 84"]["escapes"] == 0
    assert set(found["endings"]) == {"separator_bits", "length_bits"}


def test_septets_of_sms():
    assert bench.septets("abc@") == 4
    assert bench.septets("a{b}") == 6
    assert bench.septets("a`") == 2 * 16 / 7
    assert bench.septets(to_text(bytes(range(100)))) == len(to_text(bytes(range(100))))
    assert bench.base91(b"test") == "fPNKd"


def test_missing_sets_are_one_line(monkeypatch, capsys, tmp_path):
    monkeypatch.setattr("sys.argv", ["messages.py", str(tmp_path)])
    assert bench.main() == 2
    assert capsys.readouterr().err.count("\n") == 1
