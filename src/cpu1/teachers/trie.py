"""A vocabulary as a trie over its tokens' bytes, in flat arrays.

With the tokens sorted by their bytes, the tokens below every node are a contiguous range. So the differences of one
cumulative sum over a model's probabilities are the masses of all nodes. Nodes are numbered level by level and edges in
order of (node, byte). Then edge e leads to node e + 1, and the trie is its edges' keys and a range for each node.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Indices = NDArray[np.int64]


@dataclass(frozen=True)
class Steps:
    """Walks through the trie: n rows, one for each node that a walk passes; each array is (n,)."""

    walk: Indices  # the number of the walk
    depth: Indices  # bytes read so far; 0 at the root, where every walk begins
    node: Indices


class Trie:
    """The trie of tokens whose bytes are known; others (None or empty) are left out. ValueError where none is left."""

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
        self.low, self.high = np.concatenate(low), np.concatenate(high)  # the range of `order` below each node
        self.whole = np.concatenate(whole)  # how many tokens, at the start of that range, have just the node's bytes
        self._edges = np.searchsorted(self.keys, 256 * np.arange(nodes + 1))

    def walk(self, text: NDArray[np.uint8], starts: Indices, stops: Indices) -> Steps:
        """Follows text[start:stop] from the root, for each of `starts` and `stops`, until no token continues.

        A node at depth d lies before text[start + d]; no walk passes a node at stop or beyond it.
        """
        walks = np.flatnonzero(starts < stops)
        node = np.zeros(len(walks), np.int64)
        steps, depth = [], 0
        while len(walks):
            steps.append((walks, np.full(len(walks), depth), node))
            positions = starts[walks] + depth
            key = node * 256 + text[positions]
            edge = np.minimum(np.searchsorted(self.keys, key), len(self.keys) - 1)
            continues = (self.keys[edge] == key) & (positions + 1 < stops[walks])
            walks, node, depth = walks[continues], edge[continues] + 1, depth + 1
        return Steps(*(np.concatenate(part) for part in zip(*steps, strict=True)))

    def edges(self, nodes: Indices) -> tuple[Indices, Indices]:
        """The edges of many nodes, end to end: (index into `nodes`, edge)."""
        begin, count = self._edges[nodes], self._edges[nodes + 1] - self._edges[nodes]
        owner = np.repeat(np.arange(len(nodes)), count)
        return owner, np.arange(len(owner)) - np.repeat(np.cumsum(count) - count - begin, count)
