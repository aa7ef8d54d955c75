"""Codes as characters: any bytes come back, in as few characters as hold them, and none that SMS or JSON change."""

import json
import string

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cpu1.errors import UserError
from cpu1.messages import from_text, to_text
from cpu1.messages.text import ALPHABET, BASE, BLOCK, LONGEST, SIZES, characters

BEYOND_SMS = "^{}[]~\\|`"  # sent in two parts, or not there


@given(st.binary(max_size=2 * BLOCK + 30))
def test_any_bytes_come_back(code):
    text = to_text(code)
    assert from_text(text) == code
    assert json.dumps(text) == f'"{text}"'
    assert not set(text) & set(BEYOND_SMS)


def test_the_alphabet_is_what_is_left_of_ascii():
    visible = set(string.ascii_letters + string.digits + string.punctuation)
    assert set(ALPHABET) == visible - set(BEYOND_SMS) - {'"'}
    assert list(ALPHABET) == sorted(ALPHABET)
    assert len(ALPHABET) == BASE == 84


def test_the_number_of_characters_is_the_least():
    for size in range(1, BLOCK + 1):
        assert BASE ** (characters(size) - 1) < 256**size <= BASE ** characters(size)
    assert (len(SIZES), LONGEST) == (BLOCK + 1, 204)


def test_zeros_count():
    assert [to_text(bytes(size)) for size in range(4)] == ["", "!!", "!!!", "!!!!"]
    assert to_text(b"\xff\xff") == "+:1"


@pytest.mark.parametrize("text", ["!", "zz", "ab c", "!!ä", '!!"', "!" * 5, "z" * LONGEST])
def test_other_characters_are_refused(text):
    with pytest.raises(UserError, match="the code is damaged"):
        from_text(text)
