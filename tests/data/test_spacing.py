"""Text in the spacing of WikiText: its look, that no letter is lost, and its place in a mixture."""

import sys
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cpu1.cli import main
from cpu1.data.mix import Part, mix
from cpu1.data.sources import documents
from cpu1.errors import UserError

pytest.importorskip("sacremoses")

from cpu1.data.spacing import spaced

LINES = [
    ("The Bill, a well-known play.", " The Bill , a well @-@ known play . \n"),
    ("It cost $1,500 (or 2.5%).", " It cost $ 1 @,@ 500 ( or 2 @.@ 5 % ) . \n"),
    ("“Teddy’s Story” — he said; no.", ' " Teddy \'s Story " — he said ; no . \n'),
    ("Robert Boulter", " \n = Robert Boulter = \n \n"),
    ("- a first point", " - a first point \n"),
    ("\n   \n", ""),
]


@pytest.mark.parametrize(("line", "wanted"), LINES)
def test_the_look(line, wanted):
    assert spaced(line.encode()).decode() == wanted


def test_a_long_line_is_no_title():
    assert spaced(b"x" * 79).startswith(b" \n = ")
    assert spaced(b"x" * 80) == b" " + b"x" * 80 + b" \n"


@settings(max_examples=50, deadline=None)
@given(st.lists(st.text("abcXYZ 019.,;:!?'\"()-%$é", max_size=60), max_size=4))
def test_no_character_is_lost(lines):
    text = "\n".join(lines)

    def kept(words: str) -> str:
        return "".join(c for c in words if not c.isspace() and c not in "=@")

    assert kept(spaced(text.encode()).decode()) == kept(text)


def test_bytes_that_are_no_text_pass():
    assert spaced(b"ok \xff\xfe here.") == b" ok \xff \xfe here . \n"


def test_it_stands_beside_the_text_in_a_mixture(tmp_path: Path):
    notes = tmp_path / "notes.txt"
    notes.write_text("\f\n".join(f"Note {i}, a first one.\n" for i in range(300)))
    out = tmp_path / "mix.txt"
    assert (
        main(["mix", str(out), "--part", f"{notes}=1", "--part", f"spaced:{notes}=1", "--bytes", "4k", "--quiet"]) == 0
    )
    found = list(documents(str(out)))
    apart = [text for text in found if b" , " in text]
    assert len(found) / 3 < len(apart) < len(found) * 2 / 3
    assert all(text in {f" Note {i} , a first one . \n".encode() for i in range(300)} for text in apart)


def test_what_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    with pytest.raises(UserError, match="standard input"):
        mix([Part("spaced:-", 1)], 1000, tmp_path / "mix.txt")
    with pytest.raises(UserError, match=r"none\.txt.*no such file"):
        mix([Part(f"spaced:{tmp_path}/none.txt", 1)], 1000, tmp_path / "mix.txt")
    from cpu1.data import spacing

    monkeypatch.setitem(sys.modules, "sacremoses", None)
    spacing._tokenizer.cache_clear()
    with pytest.raises(UserError, match=r"cpu1\[spacing\]"):
        spaced(b"a line.")
    spacing._tokenizer.cache_clear()
