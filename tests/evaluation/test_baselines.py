"""The baselines against loops over dictionaries, on texts small enough to count by hand."""

import lzma
import math
from collections import Counter

import numpy as np
import pytest
import zstandard

from cpu1.data.split import Split
from cpu1.errors import UserError
from cpu1.evaluation import baselines as module
from cpu1.evaluation.baselines import ByteCounts, baselines


def array(data):
    return np.frombuffer(data, np.uint8)


def split(documents):
    """A training split: every document, then a separator, which looks like NUL in the stream."""
    ends = np.cumsum([0, *(len(document) + 1 for document in documents)])
    return Split(array(b"".join(document + b"\0" for document in documents)), ends)


def slow_probability(documents, context, byte):
    """Interpolated Witten-Bell for a context of 0 to 2 bytes, straight from the formula."""
    following = Counter(
        document[i]
        for document in documents
        for i in range(len(context), len(document))
        if document[i - len(context) : i] == context
    )
    total, kinds = sum(following.values()), len(following)
    if not context:
        return (following[byte] + 0.5) / (total + 128)
    lower = slow_probability(documents, context[1:], byte)
    return (following[byte] + kinds * lower) / (total + kinds) if total else lower


def slow_bpb(documents, texts, order):
    nats = [
        -math.log(slow_probability(documents, text[max(0, i - order) : i], text[i]))
        for text in texts
        for i in range(len(text))
    ]
    return sum(nats) / len(nats) / math.log(2)


@pytest.mark.parametrize("seed", range(3))
def test_byte_models_agree_with_the_slow_version(seed):
    """Skewed letters, so that contexts are rich, poor and unseen; one letter is never trained on."""
    rng = np.random.default_rng(seed)
    documents = [bytes(rng.choice(list(b"abcd"), n, p=[0.6, 0.3, 0.09, 0.01]).tolist()) for n in (0, 1, 2, 3, 50)]
    texts = [bytes(rng.choice(list(b"abcd\xff"), n).tolist()) for n in (0, 1, 2, 3, 60)]

    before_2, before_1, byte = module._contexts([array(text) for text in texts])
    fast = ByteCounts(split(documents)).order_2(before_2, before_1, byte)
    slow = [slow_probability(documents, text[max(0, i - 2) : i], text[i]) for text in texts for i in range(len(text))]
    np.testing.assert_allclose(fast, slow, rtol=1e-12)


def test_bits_per_byte_agree_with_the_slow_version():
    documents = [b"the cat sat on the mat", b"", b"a", b"then that hat"]
    texts = [b"the hat", b"", b"\xe2\x82\xac", b"that cat\x00sat"]
    found = baselines(split(documents), [array(text) for text in texts])
    assert found["uniform"].bpb == 8
    assert found["byte frequencies"].bpb == pytest.approx(slow_bpb(documents, texts, 0), rel=1e-12)
    assert found["order-2 bytes"].bpb == pytest.approx(slow_bpb(documents, texts, 2), rel=1e-12)


def test_nul_is_a_byte_like_others():
    documents = [b"a\0b\0\0c", b"\0", b"\0\0a\0"]
    texts = [b"\0a\0b", b"", b"c\0\0"]
    found = baselines(split(documents), [array(text) for text in texts])
    for name, order in (("byte frequencies", 0), ("order-2 bytes", 2)):
        assert found[name].bpb == pytest.approx(slow_bpb(documents, texts, order), rel=1e-12)


@pytest.mark.parametrize("context", [b"th", b"t?", b"?h", b"??", [256, 116], [256, 256], b"\0\0", b"at"])
def test_probabilities_sum_to_one(context):
    counts = ByteCounts(split([b"the cat sat on the mat", b"that"]))
    every = np.arange(256, dtype=np.int16)
    before_2, before_1 = (np.full(256, byte, np.int16) for byte in context)
    assert counts.order_2(before_2, before_1, every).sum() == pytest.approx(1, abs=1e-12)
    assert counts.order_0.sum() == pytest.approx(1, abs=1e-12)


def test_compressors_see_exactly_the_documents():
    texts = [b"all the documents " * 20, b"", b"and nothing between them " * 20]
    found = baselines(split([b"other text"]), [array(text) for text in texts])
    joined = b"".join(texts)
    assert found["xz -9e"].bpb * len(joined) / 8 == pytest.approx(
        len(lzma.compress(joined, preset=9 | lzma.PRESET_EXTREME))
    )
    assert found["zstd -19"].bpb * len(joined) / 8 == pytest.approx(
        len(zstandard.ZstdCompressor(level=19).compress(joined))
    )


def test_without_training_text_the_byte_models_know_nothing():
    found = baselines(split([]), [array(b"hello")])
    assert found["byte frequencies"].bpb == found["order-2 bytes"].bpb == 8


@pytest.mark.parametrize("documents", [[], [array(b""), array(b"")]])
def test_nothing_to_score_is_an_error(documents):
    with pytest.raises(UserError, match="documents are empty"):
        baselines(split([b"text"]), documents)


def test_a_large_split_is_counted_in_evenly_spread_pieces(monkeypatch):
    monkeypatch.setattr(module, "PIECE", 4)
    monkeypatch.setattr(module, "TRAIN_LIMIT", 12)
    end = module.SEPARATOR
    assert module._excerpt(split([b"abcdefghijk"])).tolist() == [*b"abcdefghijk", end]
    pieces = [*b"abc", end, *b"ghi", end, *b"n", end, 0, end]
    assert module._excerpt(split([b"abcdefghijklmn", b"\0"])).tolist() == pieces


def test_counting_in_pieces_loses_no_triple(monkeypatch):
    text = np.random.default_rng(0).integers(1, 4, 50, np.uint8)
    whole = module._count_triples(text)
    monkeypatch.setattr(module, "PIECE", 2)
    np.testing.assert_array_equal(module._count_triples(text), whole)
    assert whole.sum() == 50
