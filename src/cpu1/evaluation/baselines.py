"""Baselines in bits per byte of the same documents: byte statistics and general compressors."""

import lzma
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cpu1.data.split import Split
from cpu1.errors import UserError
from cpu1.format.tokens import BYTE_SYMBOLS

SEPARATOR = BYTE_SYMBOLS - 1
TRAIN_LIMIT = 32 << 20  # bytes of the training split that are counted
PIECE = 1 << 20


@dataclass(frozen=True)
class Baseline:
    """A baseline's score."""

    bpb: float  # bits per byte of the evaluated documents
    note: str  # what the baseline is, for people


def baselines(train: Split, documents: Sequence[NDArray[np.uint8]]) -> dict[str, Baseline]:
    """Scores `documents` (bytes) with models counted on a training split, and with compressors that see them alone.

    Raises UserError when `documents` are empty.
    """
    import zstandard

    together = b"".join(document.tobytes() for document in documents)
    if not together:
        raise UserError("the baselines need text to score, and the documents are empty; give more text")
    counts = ByteCounts(train)
    before_2, before_1, byte = _contexts(documents)
    alone = "compresses the documents joined, without any other text"
    counted = f"of at most {TRAIN_LIMIT >> 20} MiB of the training split"

    def statistical(probabilities: NDArray[np.float64], note: str) -> Baseline:
        return Baseline(float(-np.log2(probabilities).mean()), note)

    def compressed(data: bytes, program: str) -> Baseline:
        return Baseline(8 * len(data) / len(together), f"{program}: {alone}")

    return {
        "uniform": Baseline(8.0, "every byte equally likely"),
        "byte frequencies": statistical(counts.order_0[byte], f"{counted}, add-half smoothing"),
        "order-2 bytes": statistical(counts.order_2(before_2, before_1, byte), f"{counted}, Witten-Bell interpolation"),
        "zstd -19": compressed(zstandard.ZstdCompressor(level=19).compress(together), "zstd"),
        "xz -9e": compressed(lzma.compress(together, preset=9 | lzma.PRESET_EXTREME), "xz"),
    }


class ByteCounts:
    """Byte statistics of orders 0 to 2, counted on at most 32 MiB of a training split, evenly spread over it.

    A context does not reach beyond its document, so the first byte of a document has none and the second has one byte.
    Separators are neither predicted nor part of a context.
    """

    def __init__(self, train: Split) -> None:
        triples = _count_triples(_excerpt(train))
        # A triple whose context reaches beyond its document holds a separator: its last bytes count towards the
        # lower orders, and the triple itself does not count.
        triples[:, :, SEPARATOR] = 0
        self._pairs = triples.sum(axis=0, dtype=np.int64)
        single = self._pairs.sum(axis=0)
        self._pairs[SEPARATOR] = 0
        triples[SEPARATOR] = 0
        triples[:, SEPARATOR] = 0
        self._triples = triples
        self.order_0: NDArray[np.float64] = (single[:SEPARATOR] + 0.5) / (single.sum() + 128)

    def order_2(
        self, before_2: NDArray[np.int16], before_1: NDArray[np.int16], byte: NDArray[np.int16]
    ) -> NDArray[np.float64]:
        """Returns p(byte | the two bytes before it) (n,) for n positions; a separator means that there is no byte."""
        order_1 = _witten_bell(self._pairs, (before_1,), byte, self.order_0[byte])
        return _witten_bell(self._triples, (before_2, before_1), byte, order_1)


def _witten_bell(
    counts: NDArray[Any], context: tuple[NDArray[np.int16], ...], byte: NDArray[np.int16], lower: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Interpolates the counts (..., V) of n contexts with the next lower order's probabilities (n,).

    The lower order's weight is the number of different next bytes of the context (Witten and Bell, "The zero-frequency
    problem", 1991, method C). A context that was never seen has only the lower order.
    """
    total = counts.sum(axis=-1, dtype=np.int64)[context]
    distinct = np.count_nonzero(counts, axis=-1)[context]
    seen = counts[(*context, byte)]
    return np.where(total > 0, (seen + distinct * lower) / np.maximum(total + distinct, 1), lower)


def _count_triples(stream: NDArray[np.int16]) -> NDArray[np.int32]:
    """Returns how often each three symbols follow each other (V, V, V), with two separators before the stream."""
    symbols = BYTE_SYMBOLS
    counts = np.zeros(symbols**3, np.int32)
    stream = np.concatenate([np.full(2, SEPARATOR, np.int16), stream])
    for start in range(0, len(stream) - 2, 4 * PIECE):  # in pieces: the keys take four times the memory of the text
        wide = stream[start : start + 4 * PIECE + 2].astype(np.int64)
        counts += np.bincount((wide[:-2] * symbols + wide[1:-1]) * symbols + wide[2:], minlength=symbols**3)
    return counts.reshape(symbols, symbols, symbols)


def _excerpt(train: Split) -> NDArray[np.int16]:
    """Returns a small training split whole, or evenly spread pieces of a large one, each ending with a separator."""
    length = len(train.stream)
    if length <= TRAIN_LIMIT:
        return _marked(train, 0, length)
    starts = np.linspace(0, length - PIECE, TRAIN_LIMIT // PIECE, dtype=np.int64)
    return np.concatenate([np.append(_marked(train, s, s + PIECE - 1), np.int16(SEPARATOR)) for s in starts.tolist()])


def _marked(train: Split, start: int, stop: int) -> NDArray[np.int16]:
    """A part of a split with its separators."""
    part = train.stream[start:stop].astype(np.int16)
    first, last = np.searchsorted(train.ends, (start, stop))
    part[train.ends[first:last] - start] = SEPARATOR
    return part


def _contexts(documents: Sequence[NDArray[np.uint8]]) -> NDArray[np.int16]:
    """Returns, for each byte of the documents, the two bytes before it in its document, and itself (3, n)."""
    border = np.full(2, SEPARATOR, np.int16)
    padded = [np.concatenate([border, document]) for document in documents]
    return np.concatenate([np.stack([text[:-2], text[1:-1], text[2:]]) for text in padded], axis=1)
