"""Requests and answers as lines of JSON: an answer for every line, whatever it is, and ids that come back."""

import io
import json

import pytest
from helpers.packing import packed_run
from hypothesis import given, settings
from hypothesis import strategies as st

import cpu1
from cpu1.completing import Reader
from cpu1.completing import protocol as protocols
from cpu1.completing.protocol import FIELDS, answers
from cpu1.errors import UserError


@pytest.fixture(scope="module")
def model():
    return cpu1.load()


VALUES = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20) | st.lists(st.integers())
REQUESTS = st.dictionaries(st.sampled_from(FIELDS) | st.text(max_size=3), VALUES, max_size=4)
LINES = st.one_of(REQUESTS.map(lambda each: json.dumps(each).encode()), st.binary(max_size=40))


def exchange(model, *lines: object, n: int = 2) -> list[dict]:
    """Answers to lines: bytes as they are, anything else as JSON."""
    data = b"".join((line if isinstance(line, bytes) else json.dumps(line).encode()) + b"\n" for line in lines)
    found = list(answers(Reader(model), io.BytesIO(data), n, 24))
    assert all(each.endswith(b"\n") and each.count(b"\n") == 1 for each in found)
    return [json.loads(each) for each in found]


def test_answers_are_the_models(model):
    first, second = exchange(
        model, {"id": 7, "prefix": "Once upon a ti"}, {"id": "b", "prefix": "Once upon a tim", "n": 3}
    )
    wanted = model.complete("Once upon a tim", 3)
    assert (first["id"], first["read"], len(first["completions"])) == (7, 14, 2)
    assert (second["id"], second["read"]) == ("b", 1)
    assert [each["text"] for each in second["completions"]] == [word.text for word in wanted]
    assert [each["probability"] for each in second["completions"]] == [round(word.probability, 6) for word in wanted]


def test_a_cursor_counts_characters(model):
    text = "Größe 😀: once upon a time"
    cursor = text.index("me")
    by_cursor, by_prefix, at_end = exchange(
        model, {"text": text, "cursor": cursor}, {"prefix": text[:cursor]}, {"text": text[:cursor]}
    )
    assert by_cursor["completions"] == by_prefix["completions"] == at_end["completions"]
    assert (by_cursor["read"], by_prefix["read"]) == (len(text[:cursor].encode()), 0)


@pytest.mark.parametrize(
    ("line", "message"),
    [
        (b"", "not a line of JSON"),
        (b"ti", "not a line of JSON"),
        (b"\xff\xfe\x00", "not a line of JSON"),
        (b"[" * 100_000, "not a line of JSON"),
        (b"1" * 10_000, "not a line of JSON"),
        ([1], "not an object"),
        ({}, "give either prefix or text"),
        ({"prefix": "a", "text": "b"}, "give either prefix or text"),
        ({"prefix": 3}, "prefix: must be a string"),
        ({"text": None}, "text: must be a string"),
        ({"prefix": "a", "cursor": 1}, "cursor is for text"),
        ({"text": "ab", "cursor": 3}, "cursor: must be a whole number from 0 to 2"),
        ({"text": "ab", "cursor": -1}, "cursor: must be a whole number from 0 to 2"),
        ({"text": "ab", "cursor": True}, "cursor: must be a whole number from 0 to 2"),
        ({"prefix": "a", "n": 0}, "n is 0; give a whole number from 1 to 64"),
        ({"prefix": "a", "n": 65}, "n is 65"),
        ({"prefix": "a", "n": "many"}, "n is 'many'"),
        ({"prefix": "a", "max_bytes": 1e9}, "max_bytes is 1000000000.0"),
        ({"prefix": "a", "prefiks": 1}, "no field 'prefiks'; there are id, prefix, text"),
        ({"id": [1], "prefix": "a"}, "id: must be a string or a whole number"),
        (b'{"id": NaN, "prefix": "a"}', "id: must be a string or a whole number"),
    ],
)
def test_a_wrong_line_is_answered_and_ends_nothing(model, line, message):
    wrong, right = exchange(model, line, {"id": 2, "prefix": "The sh", "n": 1})
    assert wrong.keys() == {"error"}
    assert message in wrong["error"]
    assert right["completions"][0]["text"] == model.complete("The sh", 1)[0].text


def test_errors_bring_the_id_back(model):
    assert exchange(model, {"id": 5, "prefix": 1}, {"id": None, "n": 1}) == [
        {"id": 5, "error": "prefix: must be a string"},
        {"id": None, "error": "give either prefix or text"},
    ]


@settings(deadline=None, max_examples=60)
@given(st.lists(LINES, max_size=8))
def test_any_lines_have_an_answer_each(lines):
    data = b"\n".join(line.replace(b"\n", b"") for line in lines) + b"\n"
    found = [json.loads(each) for each in answers(Reader(cpu1.load()), io.BytesIO(data), 1, 2)]
    assert len(found) == data.count(b"\n")
    assert all(("error" in each) != ("completions" in each) for each in found)


def test_half_a_character_is_a_text(model):
    found = exchange(model, {"id": "\ud800", "prefix": "a\ud800"}, {"prefix": ""})
    assert (found[0]["id"], found[0]["read"]) == ("\ud800", 4)
    assert len(found[1]["completions"]) == 2


def test_too_long_a_line_is_one_answer(model, monkeypatch):
    monkeypatch.setattr(protocols, "LONGEST_LINE", 1 << 20)
    long, right = exchange(model, {"prefix": "a" * (3 << 20)}, {"prefix": "The sh"})
    assert long == {"error": "a line of 1 MiB or more; send less text"}
    assert "completions" in right


def test_a_last_line_needs_no_end(model):
    assert len(list(answers(Reader(model), io.BytesIO(b'{"prefix": "a"}'), 1, 4))) == 1


def test_models_of_tokens_are_refused(tmp_path):
    tokens = packed_run("13", tmp_path)
    with pytest.raises(UserError, match="completions are for models that read bytes; this one reads tokens"):
        Reader(cpu1.load(tokens.path if hasattr(tokens, "path") else tokens))
