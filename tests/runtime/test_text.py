"""Streaming text: any cut of any bytes gives the text of the whole, with and without stop strings."""

from itertools import pairwise

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from cpu1.errors import UserError
from cpu1.runtime.text import StopStrings, Utf8Stream, as_bytes, stream_text

# Bytes near the borders of UTF-8's forms, so that broken and cut characters are common.
edge_bytes = st.lists(st.sampled_from(b"az\x80\x8f\x9f\xa0\xbf\xc0\xc2\xc3\xe0\xe2\xed\xef\xf0\xf4\xf5\xff")).map(bytes)
any_bytes = st.one_of(st.binary(), edge_bytes, st.text().map(str.encode))


def cut(data, places):
    ends = sorted({min(place, len(data)) for place in places} | {0, len(data)})
    return [data[a:b] for a, b in pairwise(ends)]


def slow_stop(text, stops):
    """Reads on by one character until a stop string ends there; the longest one that does is cut off."""
    for end in range(len(text) + 1):
        met = [stop for stop in stops if text[:end].endswith(stop)]
        if met:
            return text[: end - max(map(len, met))], True
    return text, False


@given(data=any_bytes, places=st.lists(st.integers(0, 40)))
@example(data="a€😀".encode()[:-1], places=range(9))
@example(data=b"\xed\xa0\x80\xf0\x80\x80\xe2\x82", places=range(9))
def test_any_cut_decodes_as_the_whole(data, places):
    decoder = Utf8Stream()
    pieces = [decoder.feed(piece) for piece in cut(data, places)]
    assert "".join(pieces) + decoder.flush() == data.decode("utf-8", errors="replace")
    assert decoder.flush() == ""


def test_a_character_appears_with_its_last_byte():
    decoder = Utf8Stream()
    assert [decoder.feed(bytes([b])) for b in "é😀!".encode()] == ["", "é", "", "", "", "😀", "!"]
    assert decoder.flush() == ""


@given(
    text=st.text("ab", max_size=30).map(str.encode),
    stops=st.lists(st.text("ab", min_size=1, max_size=5).map(str.encode), max_size=3),
    places=st.lists(st.integers(0, 30)),
)
def test_any_cut_stops_as_the_whole(text, stops, places):
    matcher, out, stopped = StopStrings(stops), b"", False
    for piece in cut(text, places):
        safe, stopped = matcher.feed(piece)
        out += safe
        if not stopped:  # what was shown is right whatever follows, and what is held may become a stop
            assert slow_stop(text, stops)[0].startswith(out)
    assert (out + matcher.flush(), stopped) == slow_stop(text, stops)


def test_a_possible_stop_is_held_back_and_let_go():
    matcher = StopStrings(["\n\nUser:", "END"])
    assert matcher.feed(b"one\n") == (b"one", False)
    assert matcher.feed(b"\nUs") == (b"", False)
    assert matcher.feed(b"ing E") == (b"\n\nUsing ", False)
    assert matcher.feed(b"NDless") == (b"", True)
    assert matcher.feed(b"more") == (b"", True)
    assert matcher.flush() == b""


def test_what_was_held_comes_out_at_the_end():
    matcher = StopStrings(["END"])
    assert matcher.feed(b"the EN") == (b"the ", False)
    assert matcher.flush() == b"EN"


@pytest.mark.parametrize("stops", [[""], ["a", b""], "END", b"END"])
def test_useless_stop_strings_are_refused(stops):
    with pytest.raises(UserError, match="stop string"):
        StopStrings(stops)


@given(
    data=any_bytes,
    places=st.lists(st.integers(0, 40)),
    stops=st.lists(st.one_of(st.text("az€", min_size=1), st.binary(min_size=1, max_size=3)), max_size=2),
)
def test_the_stream_is_both_in_one(data, places, stops):
    pieces = list(stream_text(cut(data, places), stops))
    safe = slow_stop(data, [as_bytes(stop) for stop in stops])[0]
    assert "".join(pieces) == safe.decode("utf-8", errors="replace")
    assert all(pieces)


def test_no_chunk_is_taken_after_the_stop():
    chunks = iter([b"caf\xc3", b"\xa9. St", b"op. more", b"never"])
    assert list(stream_text(chunks, ["Stop"])) == ["caf", "é. "]
    assert list(chunks) == [b"never"]


def test_a_stop_may_cut_a_character():
    assert list(stream_text([b"ab\xe2\x82\xac"], [b"\x82"])) == ["ab\ufffd"]
