"""The split of each document: drawn from its content alone.

Equal documents fall in one split, and no document's split depends on the others. Where that leaves a split short (a
single book, say, or one document that outweighs the rest), all documents are cut at line ends into pieces, and the
pieces are split by content instead.
"""

import hashlib
from array import array
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from cpu1.data.split import SPLITS

SHARES = (0.90, 0.05, 0.05)  # of the documents, by SPLITS
LEAST_SHARES = (0.50, 0.01, 0.01)  # of the bytes; documents are cut when one split has less
PIECE_BYTES = (1 << 10, 16 << 10)  # smallest, largest
PIECES = 64  # aimed at in texts so small that the largest pieces would be fewer


@dataclass(frozen=True, eq=False)
class Partition:
    """n documents, or pieces of them, end to end; each array is (n,)."""

    ends: NDArray[np.int64]
    sizes: NDArray[np.int64]
    labels: NDArray[np.int64]  # indices into SPLITS
    cut: int  # about how many bytes a piece has; 0 where documents are whole


def content_key(digest: bytes) -> int:
    """The number that decides a document's split: the first 64 bits of its SHA-256."""
    return int.from_bytes(digest[:8], "big")


def partition(stream: NDArray[np.uint8], ends: NDArray[np.int64], keys: NDArray[np.uint64]) -> Partition:
    """Assigns splits to the documents that end at `ends` (n,) in `stream` and have the content keys `keys` (n,).

    A split can stay empty only where the text has too few different pieces.
    """
    sizes = np.diff(ends, prepend=0)
    labels = _draw(keys)
    if not _short(labels, sizes):
        return Partition(ends, sizes, labels, cut=0)
    cut = int(np.clip(len(stream) // PIECES, *PIECE_BYTES))
    ends, keys = _pieces(stream, ends, cut)
    sizes = np.diff(ends, prepend=0)
    return Partition(ends, sizes, _rebalance(_draw(keys), keys, sizes), cut)


def _draw(keys: NDArray[np.uint64]) -> NDArray[np.int64]:
    """The split of each document, an index into SPLITS, from its content's hash alone."""
    borders = np.cumsum(SHARES[:-1]) * 2.0**64
    return np.searchsorted(borders.astype(np.uint64), keys, side="right")


def _short(labels: NDArray[np.int64], sizes: NDArray[np.int64]) -> list[int]:
    """The splits that have too little text or none."""
    shares = np.bincount(labels, weights=sizes, minlength=len(SPLITS)) / sizes.sum()
    return [label for label, least in enumerate(LEAST_SHARES) if shares[label] < least]


def _pieces(
    stream: NDArray[np.uint8], ends: NDArray[np.int64], size: int
) -> tuple[NDArray[np.int64], NDArray[np.uint64]]:
    """Documents cut at the last line end within each `size` bytes, or after `size` bytes if that leaves less than half.

    Returns the ends and the content keys of the pieces.
    """
    cuts, keys = array("q"), array("Q")
    start = 0
    for end in ends.tolist():
        while start < end:
            piece = stream[start : min(start + size, end)].tobytes()
            line_end = piece.rfind(b"\n", size // 2) + 1
            if start + len(piece) < end and line_end:
                piece = piece[:line_end]
            start += len(piece)
            cuts.append(start)
            keys.append(content_key(hashlib.sha256(piece).digest()))
    return np.array(cuts, np.int64), np.array(keys, np.uint64)


def _rebalance(labels: NDArray[np.int64], keys: NDArray[np.uint64], sizes: NDArray[np.int64]) -> NDArray[np.int64]:
    """Gives splits that the draw left short pieces of the largest one, highest hash first.

    Equal pieces move together, and never more than half of the largest split.
    """
    labels = labels.copy()
    for label in range(len(SPLITS)):
        while label in _short(labels, sizes):
            donor = int(np.argmax(np.bincount(labels, weights=sizes)))
            distinct, inverse = np.unique(keys[labels == donor], return_inverse=True)
            weights = np.bincount(inverse, weights=sizes[labels == donor])
            movable = distinct[weights * 2 <= weights.sum()]
            if donor == label or len(movable) == 0:
                break
            labels[keys == movable[-1]] = label
    return labels
