"""Next-byte probabilities of a token model: a sum over the token sequences that cover a text.

A cover of a prefix x is a sequence of tokens whose last token holds the last byte of x (and may extend beyond it).
P(x) is the sum of the covers' probabilities, P(c | x) = P(xc) / P(x): Phan et al., "Exact byte-level probabilities
from tokenized language models", arXiv 2410.09303; Vieira et al., arXiv 2412.03719. A cover is a context, tokens that
end at a byte b, and a node of the vocabulary's trie, the bytes from b on. So with w the probability of a context,

    P(x[0..i) c) = sum over contexts that end at b <= i of  w * (mass of the tokens that begin with x[b..i) c).

**What is counted.** Every sequence of tokens with bytes counts, with the model's probability. A BPE tokenizer never
emits most of them. The model has hardly seen these, but it gives them some mass, and that mass counts. Tokens without
bytes (control tokens, padding) do not count: the model is conditioned on writing text.

**What is approximate.** The contexts along the text's own tokenisation, the path, all count. Others are added in
waves. A token that leaves a counted context makes a new context when it holds more than `share` of the probability of
all covers that end there or continue, and is at most the `depth`-th token off the path. At share 0 and without a limit
to depth nothing is left out, and the time grows exponentially with the text. Other covers, such as one that ends in
"cat" of "cats", are continued by one byte and then dropped. That byte is distributed as the first bytes of tokens on
the text's path after the same byte, in the mean. Without it the model would seem to know that the word continues.

**Resolution.** A mass below FLOOR reads as 0, since it is a difference of sums near 1; a token below it counts as
FLOOR. UNSEEN of each distribution is spread over all bytes, so that none is impossible.

Shapes: N bytes of all texts, n contexts of the path; in a wave, one number for each context, node or mass.
"""

import itertools
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from cpu1.teachers.trie import Indices, Trie

FLOOR = 1e-13
UNSEEN = 1e-9
PRODUCT = 256  # contexts whose logits are computed at once: few products are fast ones
ROWS = 16  # contexts whose sums are computed at once: with 49,152 tokens these stay in a processor's cache


class Contexts(Protocol):
    """Token sequences that a model has read, numbered from 0."""

    def logits(self, contexts: Indices) -> Tensor:
        """Logits of the token after each of the contexts: (contexts, tokens), in the trie's order of tokens."""
        ...

    def extend(self, parents: Indices, tokens: Indices) -> Indices:
        """Reads one more token after each of `parents`; returns the numbers of the new contexts."""
        ...


@dataclass(frozen=True)
class TokenPath:
    """Texts and their own tokenisations, end to end. The tokens of a text cover it and may go beyond its end."""

    text: NDArray[np.uint8]  # (N,)
    contexts: Indices  # (n,) that end inside the texts; a text's first context ends where the text begins
    starts: Indices  # (n,) where they end, ascending: the next token starts there
    stops: Indices  # (n,) where the text of each ends


@dataclass(frozen=True)
class _Wave:
    """Contexts, and the nodes of the trie that the text passes from each of them on."""

    contexts: Indices
    starts: Indices
    stops: Indices
    weights: NDArray[np.float64]  # log w
    walk: Indices  # of each node: its context
    position: Indices  # of each node: it predicts text[position]
    node: Indices  # its number in the trie
    ended: NDArray[np.float64]  # probability that a token ends at the node
    owner: Indices  # of each mass: its node
    byte: Indices  # of each mass: the next byte
    mass: NDArray[np.float64]  # of the tokens that continue with this byte


def byte_probabilities(
    contexts: Contexts, trie: Trie, path: TokenPath, share: float, depth: int | None
) -> NDArray[np.float64]:
    """Probabilities (N, 256) of every byte given all before it in its text; each row sums to 1.

    See above for `share` and `depth`; a depth of None is no limit.
    """
    wave = _read_wave(contexts, trie, path.text, path.contexts, path.starts, path.stops)
    own = _own_token(path, wave)
    wave.weights[:] = _path_weights(path, wave, own)
    # every position's sums are relative to the weight of the path's last context before it
    scale = wave.weights[np.searchsorted(path.starts, np.arange(len(path.text)), "right") - 1]
    sums = np.zeros((len(path.text), 256))
    typical = _typical(path, wave)
    _add(sums, wave, scale)
    dropped = np.zeros(len(path.text))
    for wave_number in itertools.count():
        others = np.flatnonzero((wave.ended > 0) & (wave.position > wave.starts[wave.walk]) & ~own)
        if depth is None or wave_number < depth:
            followed = _followed(wave, others, path.text, sums, scale, share)
        else:
            followed = np.zeros(len(others), bool)
        _drop(dropped, wave, others[~followed], scale)
        if not followed.any():
            break
        wave = _next_wave(contexts, trie, path.text, wave, others[followed])
        own = np.zeros(len(wave.node), bool)
        _add(sums, wave, scale)
    sums += dropped[:, None] * typical
    total = sums.sum(1, keepdims=True)
    known = np.divide(sums, total, out=np.full_like(sums, 1 / 256), where=total > 0)
    return known * (1 - UNSEEN) + UNSEEN / 256


def _read_wave(
    contexts: Contexts, trie: Trie, text: NDArray[np.uint8], chosen: Indices, starts: Indices, stops: Indices
) -> _Wave:
    steps = trie.walk(text, starts, stops)
    order = np.argsort(steps.walk, kind="stable")  # context by context, so that each is computed once
    walk, depth, node = steps.walk[order], steps.depth[order], steps.node[order]
    owner, edge = trie.edges(node)
    ended, mass = np.zeros(len(node)), np.zeros(len(edge))
    for begin, cumulative in _cumulative(contexts, trie, chosen):
        here = slice(*np.searchsorted(walk, (begin, begin + len(cumulative))))
        rows, nodes = walk[here] - begin, node[here]
        ended[here] = _between(cumulative, rows, trie.low[nodes], trie.low[nodes] + trie.whole[nodes])
        below = slice(*np.searchsorted(owner, (here.start, here.stop)))
        rows, nodes = walk[owner[below]] - begin, edge[below] + 1
        mass[below] = _between(cumulative, rows, trie.low[nodes], trie.high[nodes])
    weights = np.zeros(len(chosen))
    return _Wave(
        chosen, starts, stops, weights, walk, starts[walk] + depth, node, ended, owner, trie.keys[edge] % 256, mass
    )


def _cumulative(contexts: Contexts, trie: Trie, chosen: Indices) -> Iterator[tuple[int, Tensor]]:
    """Cumulative probabilities (ROWS, tokens + 1) in the trie's order, in chunks with the number of their first row."""
    for first in range(0, len(chosen), PRODUCT):
        logits = contexts.logits(chosen[first : first + PRODUCT])
        for begin in range(0, len(logits), ROWS):
            probabilities = torch.softmax(logits[begin : begin + ROWS], -1, dtype=torch.float32)
            sums = probabilities.new_empty(len(probabilities), len(trie.order) + 1, dtype=torch.float64)
            sums[:, 0] = 0
            torch.cumsum(probabilities, -1, dtype=torch.float64, out=sums[:, 1:])
            yield first + begin, sums


def _between(cumulative: Tensor, rows: Indices, low: Indices, high: Indices) -> NDArray[np.float64]:
    row, low_, high_ = (torch.from_numpy(index).to(cumulative.device) for index in (rows, low, high))
    mass = (cumulative[row, high_] - cumulative[row, low_]).cpu().numpy()
    mass[mass < FLOOR] = 0
    return mass


def _own_token(path: TokenPath, wave: _Wave) -> NDArray[Any]:
    """Which nodes lie where their context's own next token ends: bool (nodes,)."""
    ends = np.append(path.starts[1:], -1)  # of a text's last context: the next text's start, which no node reaches
    return (wave.position == ends[wave.walk]) & (wave.position > path.starts[wave.walk])


def _path_weights(path: TokenPath, wave: _Wave, own: NDArray[Any]) -> NDArray[np.float64]:
    """Log probabilities (n,) of the path's contexts, each within its text."""
    gain = np.zeros(len(path.contexts) + 1)
    gain[wave.walk[own] + 1] = np.log(np.maximum(wave.ended[own], FLOOR))
    weights = np.cumsum(gain)[:-1]
    first = np.searchsorted(path.stops, path.stops)  # of the same text
    return weights - weights[first]


def _add(sums: NDArray[np.float64], wave: _Wave, scale: NDArray[np.float64]) -> None:
    relative = np.exp(np.minimum(wave.weights[wave.walk] - scale[wave.position], 300))
    flat = wave.position[wave.owner] * 256 + wave.byte
    sums += np.bincount(flat, relative[wave.owner] * wave.mass, sums.size).reshape(sums.shape)


def _typical(path: TokenPath, wave: _Wave) -> NDArray[np.float64]:
    """The distribution (N, 256) of a token's first byte at each position.

    It is the mean over the contexts on the text's path that follow the same byte, and over one more context: the mean
    of all of them.
    """
    texts = np.unique(path.stops)
    before = np.where(np.isin(path.starts, (0, *texts)), 0, path.text[path.starts - 1])
    group = np.searchsorted(texts, path.stops) * 256 + before  # of each context
    at_root = wave.node[wave.owner] == 0
    flat = group[wave.walk[wave.owner[at_root]]] * 256 + wave.byte[at_root]
    sums = np.bincount(flat, wave.mass[at_root], len(texts) * 256 * 256).reshape(len(texts), 256, 256)
    mean = sums.sum(1, keepdims=True)
    sums = sums + mean / mean.sum(2, keepdims=True)
    sums = sums / sums.sum(2, keepdims=True)
    positions = np.arange(len(path.text))
    return sums[np.searchsorted(texts, positions, "right"), np.append(0, path.text[:-1])]


def _followed(
    wave: _Wave,
    ends: Indices,
    text: NDArray[np.uint8],
    sums: NDArray[np.float64],
    scale: NDArray[np.float64],
    share: float,
) -> NDArray[np.bool_]:
    """Which of the nodes `ends` hold more than `share` of the probability of all covers of the text so far."""
    before = wave.position[ends] - 1
    reached = sums[before, text[before]]
    return np.exp(np.minimum(wave.weights[wave.walk[ends]] - scale[before], 300)) * wave.ended[ends] > share * reached


def _drop(dropped: NDArray[np.float64], wave: _Wave, ends: Indices, scale: NDArray[np.float64]) -> None:
    position = wave.position[ends]
    relative = np.exp(np.minimum(wave.weights[wave.walk[ends]] - scale[position], 300))
    dropped += np.bincount(position, relative * wave.ended[ends], len(dropped))


def _next_wave(contexts: Contexts, trie: Trie, text: NDArray[np.uint8], wave: _Wave, leaving: Indices) -> _Wave:
    parents = wave.walk[leaving]
    tokens = trie.order[trie.low[wave.node[leaving]]]  # the first of tokens spelled alike represents all of them
    chosen = contexts.extend(wave.contexts[parents], tokens)
    after = _read_wave(contexts, trie, text, chosen, wave.position[leaving], wave.stops[parents])
    after.weights[:] = wave.weights[parents] + np.log(wave.ended[leaving])
    return after
