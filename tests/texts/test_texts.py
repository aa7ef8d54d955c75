"""Texts built from packages and repositories: what becomes of files, what is held out, and the list of sources."""

import gzip
import json
import subprocess
import tomllib
from pathlib import Path

import build_texts
import pytest
from build_texts import MADE, Source, beginning, divided, limited, mailboxes, names, sources
from forms import FORMS, documents
from origins import Folder, Places, Repository, chosen, opened

from cpu1.errors import UserError
from cpu1.files import read_json

LONG = "A line of a document that is long enough to be kept. " * 5


def test_plain_files_are_cleaned():
    assert list(documents("plain", f"\ufeff{LONG}\r\n\x0cend\n\n".encode())) == [f"{LONG}\nend".encode()]
    assert list(documents("plain", gzip.compress(LONG.encode()))) == [LONG.encode()]


@pytest.mark.parametrize("data", [b"short", LONG.encode() + b"\0", LONG.encode() + b"\xff", b"\x1f\x8bdamaged" * 30])
def test_what_is_no_text_or_too_short_is_left_out(data):
    assert list(documents("plain", data)) == []


def test_a_book():
    body = f"<div><head><pb/> Erstes\n Kapitel.</head><p>{LONG}</p><p>Und <hi>dann</hi>.</p></div>"
    data = f'<TEI xmlns="http://www.tei-c.org/ns/1.0"><teiHeader/><text><body>{body}</body></text></TEI>'
    assert list(documents("tei", data.encode())) == [f"Erstes Kapitel.\n\n{LONG.strip()}\n\nUnd dann.".encode()]


def test_a_page_of_help():
    data = (
        f"<html><script>x()</script><p>menu</p><h1>Titre</h1><p>{LONG}\nfin</p><script>y()</script><li>un</li></html>"
    )
    assert list(documents("help", data.encode())) == [f"Titre\n\n{LONG}fin\n\nun".encode()]


def test_dialogues_are_together():
    turns = [{"speaker": "USER", "utterance": LONG}, {"speaker": "SYSTEM", "utterance": "Yes."}]
    found = list(documents("dialogue", json.dumps([{"turns": turns}] * 21).encode()))
    assert [text.count(b"User: A line") for text in found] == [20, 1]
    assert found[0].startswith(f"User: {LONG}\nAssistant: Yes.\n\nUser:".encode())


@pytest.mark.parametrize(
    ("pattern", "wanted"),
    [
        ("a/**/*.c", ["a/b/x.c", "a/x.c"]),
        ("a/*.c", ["a/x.c"]),
        ("*.c", ["x.c"]),
        ("**/*", ["a/b/x.c", "a/x.c", "a/x.h", "x.c"]),
    ],
)
def test_patterns(pattern, wanted):
    assert chosen(["a/b/x.c", "a/x.c", "a/x.h", "x.c"], [pattern], []) == wanted


def test_patterns_that_leave_out():
    assert chosen(["a/x.js", "a/x.min.js"], ["**/*.js"], ["*.min.js"]) == ["a/x.js"]


def test_the_beginning_ends_with_a_line():
    assert beginning(b"one\ntwo\nthree", 9) == b"one\ntwo"
    assert beginning(b"one\ntwo", None) == b"one\ntwo"
    assert beginning(b"without end of line", 7) == b"without"


def test_limited_takes_the_lowest_hashes():
    assert list(limited({b"b": b"22", b"a": b"11", b"c": b"33"}, 3)) == [b"a", b"b"]


def test_mails_are_together():
    assert [text.count(b"Subject") for text in mailboxes([b"Subject: x"] * 45)] == [20, 20, 5]


@pytest.fixture
def repository(tmp_path) -> Path:
    """A mirror of a repository of two commits, named as those of --mirrors are."""
    work, mirror = tmp_path / "work", tmp_path / "mirrors" / "someone+thing" / "repo"
    for number in range(200):
        path = work / "docs" / f"{number}.txt"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"{number} {LONG}")

    def git(*words: str) -> None:
        who = ["-c", "user.name=Ann", "-c", "user.email=ann@secret.test"]
        subprocess.run(["git", *who, *words], cwd=work, check=True, capture_output=True)

    git("init", "-q", "-b", "main")
    git("add", ".")
    git("commit", "-q", "-m", "All documents", "-m", "There are 200 of them.")
    (work / "other.txt").write_text("0 " + LONG)
    git("add", ".")
    git("commit", "-q", "-m", "One more")
    subprocess.run(["git", "clone", "-q", "--bare", work, mirror], check=True)
    return tmp_path / "mirrors"


def test_a_set_of_a_repository(repository, tmp_path):
    places = Places(tmp_path / "cache", repository)
    listed = [
        Source("x", "github:someone/thing@main", "MIT", ["docs/*.txt"]),
        Source("x", "github:someone/thing@main", "MIT", ["other.txt"], held_out=True),
    ]
    train, valid = divided(listed, places)
    assert len(train) + len(valid) == 200
    assert 1 < len(valid) < 20
    assert f"0 {LONG}".strip().encode() not in [text.strip() for text in train]  # it is held out elsewhere
    assert (train, valid) == divided(listed[::-1], places)


def test_commits_as_mails(repository, tmp_path):
    origin = opened("github:someone/thing@main", Places(tmp_path / "cache", repository))
    assert isinstance(origin, Repository)
    first, second = (mail.decode() for mail in origin.mails())
    assert "From: Ann <ann@example.org>\nDate: " in first
    assert "\nSubject: [PATCH] All documents\n\nThere are 200 of them." in first
    assert second.endswith("Subject: [PATCH] One more")
    assert "secret" not in first + second


def test_a_folder(tmp_path):
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "x.txt").write_text("text")
    (tmp_path / "link.txt").symlink_to(tmp_path / "a" / "x.txt")
    assert Folder(tmp_path).names() == ["a/x.txt"]
    assert list(Folder(tmp_path).read(["a/x.txt"])) == [b"text"]


def test_a_source_without_documents_is_named(repository, tmp_path):
    listed = [Source("x", "github:someone/thing@main", "MIT", ["*.md"])]
    with pytest.raises(UserError, match=r"someone/thing@main: no document matches \*\.md"):
        divided(listed, Places(tmp_path, repository))


def test_unknown_sets_are_refused(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr("sys.argv", ["build_texts.py", str(tmp_path), "--sets", "code,music"])
    assert build_texts.main() == 2
    assert capsys.readouterr().err.startswith("texts/build_texts.py: no set music; there are code, logs, ")
    assert not list(tmp_path.iterdir())


def test_every_source_is_complete():
    for source in sources():
        kind, _, name = source.origin.partition(":")
        assert ("=" if kind in ("debian", "pypi") else "@") in name, source.origin
        assert kind in ("debian", "pypi", "github")
        assert kind != "github" or len(name.partition("@")[2]) == 40
        assert source.form == "mail" or (source.form in FORMS and source.paths)
        assert source.licence


def test_texts_of_the_benchmark_are_not_trained_on():
    """bench/unlike.py has two modules, and topics of Python's documentation."""
    entries = tomllib.loads((Path(build_texts.__file__).parent / "sources.toml").read_text())["source"]
    stdlib = next(entry for entry in entries if "python3.11" in entry["from"])
    modules = ["argparse.py", "typing.py", "pydoc_data/topics.py", "ast.py"]
    kept = chosen([f"usr/lib/python3.11/{name}" for name in modules], stdlib["paths"], stdlib["except"])
    assert kept == ["usr/lib/python3.11/ast.py"]


def test_the_list_of_what_was_made_is_whole():
    assert set(read_json(MADE)) == {f"{name}.{part}.txt" for name in names(sources()) for part in ("train", "valid")}
