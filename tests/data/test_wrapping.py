"""Wrapped text: its lines, that no word is lost, and its place in a mixture."""

from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st

from cpu1.data.mix import Part, mix
from cpu1.data.sources import documents
from cpu1.data.wrapping import NARROWEST, WIDTHS, wrapped

PARAGRAPH = (
    b"It was the best of times, it was the worst of times, it was the age of wisdom, it was the age of foolishness."
)


def test_long_lines_are_wrapped_and_short_ones_stay():
    text = b"A title\n\n" + PARAGRAPH + b"\n    " + PARAGRAPH
    lines = wrapped(text).decode().split("\n")
    assert lines[:2] == ["A title", ""]
    assert NARROWEST - 12 < max(map(len, lines)) < NARROWEST + WIDTHS
    assert all(line.startswith("    ") for line in lines[-2:])


def test_documents_have_lines_of_different_widths():
    widest = {max(map(len, wrapped(b"%d " % number + 8 * (PARAGRAPH + b" ")).split(b"\n"))) for number in range(40)}
    assert len(widest) > 10


@settings(max_examples=50, deadline=None)
@given(st.lists(st.text("ab \té-", max_size=200), max_size=4))
def test_no_word_is_lost(lines):
    text = "\n".join(lines)
    assert wrapped(text.encode()).decode().split() == text.split()


def test_bytes_that_are_no_text_pass():
    assert wrapped(b"\xff\xfe " * 40).split() == [b"\xff\xfe"] * 40


def test_a_part_of_a_mixture(tmp_path: Path):
    (tmp_path / "one.txt").write_bytes(b"\n\f\n".join(b"%d " % number + PARAGRAPH for number in range(40)))
    mix([Part(f"wrapped:{tmp_path / 'one.txt'}", 1)], 3000, tmp_path / "mix.txt")
    found = list(documents(str(tmp_path / "mix.txt"), "text"))
    assert len(found) > 20
    assert all(b"\n" in document.rstrip(b"\n") for document in found)
