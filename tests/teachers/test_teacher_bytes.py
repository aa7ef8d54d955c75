"""Byte marginals of token models: against sums over all token sequences, spelled out, on tiny vocabularies."""

import zlib

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from cpu1.teachers.marginal import UNSEEN, TokenPath, byte_probabilities
from cpu1.teachers.trie import Trie

CONTROL = None  # a token without bytes, which the model likes
VOCABULARY = [CONTROL, b"a", b"b", b"c", b"ab", b"abc", b"bc", b"ca", b"cab", b"b", b"aa"]  # b"b" stands twice


class Toy:
    """A random model of tokens: logits drawn anew for each sequence, the same for tokens spelled alike."""

    def __init__(self, tokenised: list[list[int]], vocabulary=VOCABULARY) -> None:
        self.vocabulary = vocabulary
        self.sequences = [tuple(ids[:end]) for ids in tokenised for end in range(len(ids))]

    def distribution(self, sequence) -> torch.Tensor:
        spelled = b"|".join(self.vocabulary[token] for token in sequence)
        generator = torch.Generator().manual_seed(zlib.crc32(spelled))
        return 2 * torch.randn(len(self.vocabulary), generator=generator)

    def logits(self, contexts):
        return torch.stack([self.distribution(self.sequences[i]) for i in contexts])[:, Trie(self.vocabulary).order]

    def extend(self, parents, tokens):
        first = len(self.sequences)
        self.sequences += [(*self.sequences[i], int(token)) for i, token in zip(parents, tokens, strict=True)]
        return np.arange(first, len(self.sequences))

    def shares(self, read) -> list[float]:
        logits = self.distribution(read)
        logits[[i for i, token in enumerate(self.vocabulary) if token is None]] = -torch.inf
        return torch.softmax(logits, 0).tolist()

    def token(self, spelled: bytes, read) -> float:
        """That a token spelled so comes after `read`."""
        return sum(share for share, token in zip(self.shares(read), self.vocabulary, strict=True) if token == spelled)

    def probability(self, text: bytes, own: tuple[int, ...] | None = None, read=()) -> float:
        """That the bytes after `read` begin with `text`; with `own`, all tokens but the last from there."""
        found = 0.0
        for token, share in enumerate(self.shares(read)):
            spelled = self.vocabulary[token]
            if spelled is None:
                continue
            if spelled.startswith(text):
                found += share
            elif text.startswith(spelled) and (own is None or own[: len(read) + 1] == (*read, token)):
                found += share * self.probability(text[len(spelled) :], own, (*read, token))
        return found


def longest_first(text: bytes, vocabulary=VOCABULARY) -> list[int]:
    """A tokenisation, as good as any."""
    ids: list[int] = []
    while text:
        best = max((token for token in vocabulary if token and text.startswith(token)), key=len)
        ids.append(vocabulary.index(best))
        text = text[len(best) :]
    return ids


def path(texts: list[bytes], tokenised: list[list[int]]) -> TokenPath:
    starts, stops, end = [], [], 0
    for text, ids in zip(texts, tokenised, strict=True):
        lengths = [len(VOCABULARY[token]) for token in ids]
        starts += [end + sum(lengths[:i]) for i in range(len(ids))]
        end += len(text)
        stops += [end] * len(ids)
    joined = np.frombuffer(b"".join(texts), np.uint8)
    return TokenPath(joined, np.arange(len(starts)), np.array(starts), np.array(stops))


def predict(texts: list[bytes], share: float, depth: int | None = None) -> tuple[Toy, np.ndarray]:
    tokenised = [longest_first(text) for text in texts]
    toy = Toy(tokenised)
    return toy, byte_probabilities(toy, Trie(VOCABULARY), path(texts, tokenised), share, depth)


words = st.lists(st.sampled_from([b"a", b"b", b"c"]), min_size=1, max_size=7).map(b"".join)


@given(words)
@settings(max_examples=30, deadline=None)
def test_at_share_0_the_bytes_chain_to_the_sum_over_all_tokenisations(text):
    toy, found = predict([text], 0.0)
    np.testing.assert_allclose(found.sum(1), 1, atol=1e-12)
    chained = np.cumprod(found[np.arange(len(text)), list(text)])
    np.testing.assert_allclose(chained, [toy.probability(text[: i + 1]) for i in range(len(text))], rtol=1e-4)


def test_every_byte_is_exact_not_only_the_one_that_came():
    text = b"abcabca"
    toy, found = predict([text], 0.0)
    for i in range(len(text)):
        expected = np.array([toy.probability(text[:i] + bytes([byte])) for byte in range(256)])
        np.testing.assert_allclose(found[i], expected / expected.sum(), atol=3e-6)


def test_without_branches_what_ends_off_the_path_goes_on_as_tokens_begin_around():
    """Depth 0: covers whose tokens, all but the last, are the text's own; others go on as behind the same byte."""
    text = b"abcabcacab"
    own = tuple(longest_first(text))
    toy, found = predict([text], 0.0, depth=0)
    spelled = [VOCABULARY[token] for token in own]
    borders = np.cumsum([0, *map(len, spelled)])[:-1]
    begins = np.array([[toy.probability(bytes([byte]), read=own[:j]) for byte in range(256)] for j in range(len(own))])
    behind = [0, *(text[border - 1] for border in borders[1:])]
    for i in range(len(text)):
        expected = np.array([toy.probability(text[:i] + bytes([byte]), own) for byte in range(256)])
        alike = [begins[j] for j in range(len(own)) if i and behind[j] == text[i - 1]]
        typical = np.mean([*alike, begins.mean(0)], 0)
        for j, border in enumerate(borders[borders < i]):
            if (off := text[border:i]) != spelled[j] and off in VOCABULARY:
                before = np.prod([toy.token(spelled[n], own[:n]) for n in range(j)])
                expected += before * toy.token(off, own[:j]) * typical
        np.testing.assert_allclose(found[i], expected / expected.sum(), atol=3e-6)


def test_a_smaller_share_comes_closer_to_the_exact_value():
    text = b"abcaabcabc"
    exact = predict([text], 0.0)[1]
    errors = [np.abs(predict([text], share)[1] - exact).sum(1).mean() for share in (1.0, 0.3, 0.03, 0.001)]
    assert errors == sorted(errors, reverse=True)
    assert errors[-1] < 0.01 < 0.1 < errors[0]


def test_more_depth_comes_closer_to_the_exact_value():
    text = b"abcaabcabc"
    exact = predict([text], 0.0)[1]
    errors = [np.abs(predict([text], 0.0, depth)[1] - exact).sum(1).mean() for depth in range(len(text))]
    assert errors[-1] < 1e-6 < errors[4] < errors[2] / 2


def test_texts_in_one_call_do_not_see_each_other():
    texts = [b"abcab", b"c", b"cabbca"]
    for how in ((0.0, None), (0.05, None), (0.0, 1), (1.0, None)):
        alone = [predict([text], *how)[1] for text in texts]
        np.testing.assert_allclose(predict(texts, *how)[1], np.concatenate(alone), atol=1e-9)


def test_a_byte_that_no_token_begins_with_is_not_impossible():
    found = predict([b"ab"], 0.0)[1]
    assert found[0, ord("z")] == pytest.approx(UNSEEN / 256)


@given(st.lists(st.one_of(st.none(), st.binary(max_size=5)), min_size=1, max_size=60).filter(any))
@settings(deadline=None)
def test_the_trie_is_the_vocabulary(vocabulary):
    trie = Trie(vocabulary)
    nodes = {b""}
    for text in vocabulary:
        nodes |= {text[:end] for end in range(1, len(text) + 1)} if text else set()
    assert len(trie.low) == len(trie.high) == len(trie.whole) == len(nodes)
    for prefix in nodes:
        text = np.frombuffer(prefix + b"!", np.uint8)
        steps = trie.walk(text, np.array([0]), np.array([len(text)]))
        node = steps.node[steps.depth == len(prefix)].item()
        below = {vocabulary[i] for i in trie.order[trie.low[node] : trie.high[node]]}
        assert below == {token for token in vocabulary if token and token.startswith(prefix)}
        whole = trie.order[trie.low[node] : trie.low[node] + trie.whole[node]]
        assert sorted(whole) == [i for i, token in enumerate(vocabulary) if token and token == prefix]
        _, edges = trie.edges(np.array([node]))
        assert {bytes([byte]) for byte in trie.keys[edges] % 256} == {
            other[-1:] for other in nodes if len(other) == len(prefix) + 1 and other.startswith(prefix)
        }
