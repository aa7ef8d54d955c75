"""What is held out of a text, and which texts are refused."""

import hashlib

import pytest

from cpu1.adapting.text import LEAST, divide, keep_text, read_text
from cpu1.errors import UserError


def documents(count: int, size: int = 400) -> list[bytes]:
    return [hashlib.sha256(bytes([i])).hexdigest().encode() * (size // 64) + b"\n" for i in range(count)]


def test_of_many_documents_whole_ones_are_held_out():
    texts = documents(200)
    parts = divide(texts)
    assert parts.whole
    assert sorted(parts.known + parts.held_out) == sorted(texts)
    assert 0.09 < parts.held_out_bytes / sum(map(len, texts)) < 0.12


def test_the_choice_of_documents_depends_on_their_content_alone():
    texts = documents(200)
    assert set(divide(texts[::-1]).held_out) == set(divide(texts).held_out)


def test_copies_of_a_held_out_document_are_not_learned_from():
    parts = divide(documents(200) * 2)
    assert parts.whole
    assert not set(parts.known) & set(parts.held_out)


def test_copies_count_as_often_as_they_are_there():
    texts = documents(40) * 12
    parts = divide(texts)
    assert 7 * parts.held_out_bytes < parts.known_bytes < 11 * parts.held_out_bytes


def test_of_few_documents_the_ends_are_held_out():
    texts = [b"one line of text\n" * 300, b"another line\n" * 500]
    parts = divide(texts)
    assert not parts.whole
    assert [known + end for known, end in zip(parts.known, parts.held_out, strict=True)] == texts
    assert all(known.endswith(b"\n") for known in parts.known)
    assert 0.09 < parts.held_out_bytes / sum(map(len, texts)) < 0.12


def test_the_identity_is_of_the_text_and_of_how_it_is_divided():
    parts = divide([b"one line of text\n" * 300])
    assert parts.identity == divide([b"one line of text\n" * 300]).identity
    assert parts.identity != divide([b"one line of text\n" * 301]).identity


def test_too_little_text_is_refused(tmp_path):
    path = tmp_path / "text.txt"
    path.write_bytes(b"short")
    with pytest.raises(UserError, match=f"5 bytes of text are too few; at least {LEAST:,} are needed"):
        read_text([str(path)], "text", LEAST)


@pytest.mark.filterwarnings("ignore:.*looks binary")
def test_what_is_no_text_is_refused(tmp_path):
    path = tmp_path / "text.txt"
    path.write_bytes("some words in a wide encoding".encode("utf-16") * 400)
    with pytest.raises(UserError, match="many NUL bytes"):
        read_text([str(path)], "text", LEAST)


def test_a_stray_nul_does_no_harm(tmp_path):
    path = tmp_path / "text.txt"
    path.write_bytes(b"a line of text\n" * 1000 + b"\0" * 3 + b"a line of text\n" * 1000)
    assert len(read_text([str(path)], "text", LEAST)[0]) == path.stat().st_size


def test_nothing_is_written_into_what_is_read(tmp_path):
    (tmp_path / "notes").mkdir()
    text = tmp_path / "notes" / "a.txt"
    text.write_text("words")
    outside, inside = tmp_path / "mine.cpu1", tmp_path / "notes" / "mine.cpu1"
    keep_text(outside, [outside], [str(text), str(text.parent)])
    keep_text(inside, [inside], [str(text)])
    with pytest.raises(UserError, match=r"lies in .*notes, which is read"):
        keep_text(inside, [inside], [str(text.parent)])
    with pytest.raises(UserError, match="is what is read here"):
        keep_text(text, [text], [str(text)])


def test_the_state_of_a_training_is_not_read_as_text(tmp_path):
    state = tmp_path / "mine.cpu1.adapting"
    state.mkdir()
    (state / "looks.json").write_text("{}")
    with pytest.raises(UserError, match="which is read as text"):
        keep_text(tmp_path / "mine.cpu1", [state], [str(tmp_path / "*" / "*.json")])
