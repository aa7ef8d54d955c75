"""A vocabulary as a trie over its tokens' bytes, in flat arrays.

Tokens sorted by their bytes make the tokens below every node a contiguous range, so that the differences of one
cumulative sum over a model's probabilities are the masses of all nodes. Nodes are numbered level by level and
their edges in order of (node, byte); then edge e leads to node e + 1, and the trie is its edges' keys and a range
for each node.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Indices = NDArray[np.int64]


@dataclass(frozen=True)
class Steps:
    """Walks through the trie, one row for each node met: [n] each."""

    walk: Indices  # which walk
    depth: Indices  # bytes read so far; 0 at the root, which every walk meets
    node: Indices


class Trie:
    """Of tokens whose bytes are known; the others (None or empty) are left out. ValueError where none is left."""

    def __init__(self, token_bytes: Sequence[bytes | None]) -> None:
        texts = [text or b"" for text in token_bytes]
        self.order = np.array(sorted((i for i, text in enumerate(texts) if text), key=texts.__getitem__), np.int64)
        if not len(self.order):
            raise ValueError("no token has bytes")
        spelled = [texts[i] for i in self.order]
        lengths = np.array([len(text) for text in spelled], np.int64)
        letters = np.frombuffer(b"".join(spelled), np.uint8)
        begins = np.cumsum(lengths) - lengths
        at = np.zeros(len(spelled), np.int64)  # the node of each token's first `depth` bytes
        keys, low, high = [], [np.zeros(1, np.int64)], [np.array([len(spelled)], np.int64)]
        whole, nodes = [], 1
        for depth in range(int(lengths.max()) + 1):
            first_here = nodes - len(low[-1])
            whole.append(np.bincount(at[lengths == depth] - first_here, minlength=len(low[-1])))
            deeper = np.flatnonzero(lengths > depth)
            key = at[deeper] * 256 + letters[begins[deeper] + depth]
            first = np.flatnonzero(np.diff(key, prepend=-1))
            last = np.append(first[1:], len(deeper)) - 1
            keys.append(key[first])
            low.append(deeper[first])
            high.append(deeper[last[: len(first)]] + 1)
            at[deeper] = nodes + np.cumsum(np.diff(key, prepend=-1) != 0) - 1
            nodes += len(first)
        self.keys = np.concatenate(keys)  # 256 * node + byte of each edge, ascending
        self.low, self.high = (
            np.concatenate(low),
            np.concatenate(high),
        )  # the tokens below each node, as `order` has them
        self.whole = np.concatenate(whole)  # how many of them, the first, are the node's bytes and no more
        self._edges = np.searchsorted(self.keys, 256 * np.arange(nodes + 1))

    def walk(self, text: NDArray[np.uint8], starts: Indices, stops: Indices) -> Steps:
        """Follows text[start:stop] from the root, for each start, until no token goes on.

        A node at depth d stands before text[start + d]; none is met at stop or beyond it.
        """
        walks = np.flatnonzero(starts < stops)
        node = np.zeros(len(walks), np.int64)
        steps, depth = [], 0
        while len(walks):
            steps.append((walks, np.full(len(walks), depth), node))
            places = starts[walks] + depth
            key = node * 256 + text[places]
            edge = np.minimum(np.searchsorted(self.keys, key), len(self.keys) - 1)
            goes_on = (self.keys[edge] == key) & (places + 1 < stops[walks])
            walks, node, depth = walks[goes_on], edge[goes_on] + 1, depth + 1
        return Steps(*(np.concatenate(part) for part in zip(*steps, strict=True)))

    def edges(self, nodes: Indices) -> tuple[Indices, Indices]:
        """The edges of many nodes, end to end: (which of `nodes`, edge)."""
        begin, count = self._edges[nodes], self._edges[nodes + 1] - self._edges[nodes]
        owner = np.repeat(np.arange(len(nodes)), count)
        return owner, np.arange(len(owner)) - np.repeat(np.cumsum(count) - count - begin, count)
