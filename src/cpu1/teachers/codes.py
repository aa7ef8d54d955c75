"""Codes of a teacher's lessons: the likeliest bytes with 8-bit logarithms, hidden states with 8-bit integers.

A probability p is kept as round(-16 log2 p), in steps of 1/16 of an octave. It is read at most 2.2% too high or too
low, which costs a student (δ ln 2)² / 24 = 8e-5 nats at δ = 1/16. From 254/16 octaves on (p < 1.7e-5) it reads as 0.
The probabilities of a position are scaled to a sum of 1 when they are read.
"""

import numpy as np
from numpy.typing import NDArray

STEPS = 16  # of an octave
ZERO = 255  # the code of probability 0
VALUES = np.append(np.exp2(-np.arange(ZERO) / STEPS), 0).astype(np.float32)  # (256,)


def encode(probabilities: NDArray[np.float32], k: int) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """Probabilities (N, 256) -> the k likeliest bytes (N, k), likeliest first, and codes (N, k + 1).

    The last code is that of all other bytes together.
    """
    some = np.argpartition(-probabilities, k - 1, axis=1)[:, :k]
    order = np.argsort(-np.take_along_axis(probabilities, some, 1), axis=1, kind="stable")
    ids = np.take_along_axis(some, order, 1)
    chosen = np.take_along_axis(probabilities, ids, 1)
    rest = probabilities.sum(1, keepdims=True, dtype=np.float64) - chosen.sum(1, keepdims=True, dtype=np.float64)
    kept = np.concatenate((chosen, rest), 1)
    codes = np.rint(-STEPS * np.log2(np.clip(kept, VALUES[ZERO - 1] / 2, 1)))
    return ids.astype(np.uint8), np.minimum(codes, ZERO).astype(np.uint8)


def decode(codes: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Codes (N, k + 1) -> probabilities (N, k + 1), that of all other bytes last; each row sums to 1."""
    values = VALUES[codes]
    values /= values.sum(1, keepdims=True)
    return values


def encode_vectors(vectors: NDArray[np.float32]) -> tuple[NDArray[np.int8], NDArray[np.float32]]:
    """Vectors (T, D) -> integers (T, D) from -127 to 127, and a scale for each vector (T,)."""
    scale = np.abs(vectors).max(1, initial=0) / 127
    integers = np.rint(vectors / np.where(scale > 0, scale, 1)[:, None])
    return integers.astype(np.int8), scale.astype(np.float32)
