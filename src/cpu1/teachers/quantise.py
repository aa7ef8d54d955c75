"""How a teacher's lessons are kept: the likeliest bytes with 8-bit logarithms, hidden states with 8-bit integers.

A probability p is kept as round(-16 log2 p), so in steps of 1/16 of an octave: it is read at most 2.2% too high or
too low, which costs a student that learns from it (δ ln 2)² / 24 = 8e-5 nats at δ = 1/16. From 254/16 octaves on
(p < 1.7e-5) it reads as 0. What is kept for a byte of text is made to sum to 1 again when it is read.
"""

import numpy as np
from numpy.typing import NDArray

STEPS = 16  # of an octave
NOTHING = 255
VALUES = np.append(np.exp2(-np.arange(NOTHING) / STEPS), 0).astype(np.float32)  # [256]


def encode(probabilities: NDArray[np.float32], k: int) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """(N, 256) -> the k likeliest bytes (N, k), likeliest first, and codes (N, k + 1), the last of all other bytes."""
    some = np.argpartition(-probabilities, k - 1, axis=1)[:, :k]
    order = np.argsort(-np.take_along_axis(probabilities, some, 1), axis=1, kind="stable")
    ids = np.take_along_axis(some, order, 1)
    chosen = np.take_along_axis(probabilities, ids, 1)
    rest = probabilities.sum(1, keepdims=True, dtype=np.float64) - chosen.sum(1, keepdims=True, dtype=np.float64)
    kept = np.concatenate((chosen, rest), 1)
    codes = np.rint(-STEPS * np.log2(np.clip(kept, VALUES[NOTHING - 1] / 2, 1)))
    return ids.astype(np.uint8), np.minimum(codes, NOTHING).astype(np.uint8)


def decode(codes: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Codes (N, k + 1) -> probabilities, the remainder last, each row of sum 1; no text is certain of nothing."""
    values = VALUES[codes]
    values /= values.sum(1, keepdims=True)
    return values


def encode_vectors(vectors: NDArray[np.float32]) -> tuple[NDArray[np.int8], NDArray[np.float32]]:
    """(T, D) -> integers (T, D) and a scale for each vector (T,)."""
    scale = np.abs(vectors).max(1, initial=0) / 127
    integers = np.rint(vectors / np.where(scale > 0, scale, 1)[:, None])
    return integers.astype(np.int8), scale.astype(np.float32)
