"""The runtime's own BPE gives the tokens of the library that the lab encodes with."""

import pytest
from helpers.text import write_text
from hypothesis import given, settings
from hypothesis import strategies as st

from cpu1.data.bpe import Tokenizer, train_bpe
from cpu1.data.corpus import prepare
from cpu1.format.tokens import Tokens


@pytest.fixture(scope="module")
def pair(tmp_path_factory):
    folder = tmp_path_factory.mktemp("tokens")
    tokenizer = train_bpe(prepare(str(write_text(folder)), cache=folder / "cache"), 700)
    tokenizer.save(folder / "tokenizer.json")
    return tokenizer, Tokens.parse((folder / "tokenizer.json").read_bytes())


def test_real_text_gives_the_same_tokens(pair, tmp_path):
    library, own = pair
    text = write_text(tmp_path, 60).read_bytes()
    assert own.encode(text).tolist() == library.encode(text).tolist()
    assert own.token_bytes == library.token_bytes


@settings(max_examples=200, deadline=None)
@given(text=st.one_of(st.binary(max_size=200), st.text(max_size=100).map(str.encode)))
def test_any_bytes_give_the_same_tokens(pair, text):
    library, own = pair
    ids = own.encode(text)
    assert ids.tolist() == library.encode(text).tolist()
    assert b"".join(own.token_bytes[i] for i in ids) == text


@settings(max_examples=60, deadline=None)
@given(picks=st.lists(st.tuples(st.integers(1, 5), st.integers(1, 5)), max_size=12), text=st.binary(max_size=40))
def test_strange_merges_give_the_same_tokens(picks, text):
    """Pairs that stand twice, and pairs that spell a token that is there already."""
    merges = [(97 + left, 97 + right) for left, right in picks]
    text = bytes(97 + byte % 6 for byte in text)
    assert Tokens(600, merges).encode(text).tolist() == Tokenizer(600, merges).encode(text).tolist()


@pytest.mark.parametrize("data", [b"", b"{}", b'{"format": 9, "vocabulary": 300, "merges": []}',
                                  b'{"format": 1, "vocabulary": 3, "merges": []}',
                                  b'{"format": 1, "vocabulary": 300, "merges": [[1, 999]]}', b"\xff\xff"])  # fmt: skip
def test_what_is_no_tokenizer_is_refused(data):
    with pytest.raises(ValueError, match="not a tokenizer"):
        Tokens.parse(data)
