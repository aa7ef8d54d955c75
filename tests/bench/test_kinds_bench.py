"""The bench that cuts two files of each kind of text."""

from pathlib import Path

import kinds as bench
import pytest


def run(monkeypatch: pytest.MonkeyPatch, *words: object) -> int:
    monkeypatch.setattr("sys.argv", ["kinds.py", *map(str, words)])
    return bench.main()


def test_each_text_gives_two_files_of_different_documents(monkeypatch, tmp_path: Path):
    documents = [f"document {number} ".encode() * 400 for number in range(200)]
    text = tmp_path / "mail.valid.txt"
    text.write_bytes(b"\n\f\n".join(documents))
    assert run(monkeypatch, tmp_path / "kinds", text) == 0
    short, long = ((tmp_path / "kinds" / f"mail.{name}").read_bytes() for name in ("short", "long"))
    assert short == b"\n".join(documents[:3])
    assert long == b"\n".join(documents[3:])[:500_000]
    assert run(monkeypatch, tmp_path / "whole", "--whole", text) == 0
    assert (tmp_path / "whole" / "mail.long").read_bytes() == b"\n".join(documents[3:])


def test_a_text_that_is_too_short_is_named_and_the_others_are_written(monkeypatch, capsys, tmp_path: Path):
    (tmp_path / "small.txt").write_bytes(b"a" * 12_000)
    (tmp_path / "large.txt").write_bytes(b"\n\f\n".join([b"a" * 12_000, b"b" * 12_000]))
    assert run(monkeypatch, tmp_path / "kinds", tmp_path / "small.txt", tmp_path / "large.txt") == 1
    assert f"{tmp_path / 'small.txt'}: too short" in capsys.readouterr().err
    assert sorted(path.name for path in (tmp_path / "kinds").iterdir()) == ["large.long", "large.short"]
