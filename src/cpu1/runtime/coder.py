"""Arithmetic coding of units by the probabilities that a stream gives them; plain form of native/engine/run/coder.cpp.

It makes the same code of the same logits as the engine's, which is faster, and works over any stream. It is a range
coder (Martin 1979, "Range encoding: an algorithm for removing redundancy from a digitised message"). Text is decoded in
the order in which it was encoded, so that a block needs no second pass and can be decoded piece by piece. Its one
division a unit takes no time in comparison with the model.

Shapes: V symbols.
"""

from typing import Protocol

import numpy as np
from numpy.typing import ArrayLike, NDArray

BEST = float(1 << 32)  # + 1 is the frequency of the likeliest unit
LEAST_RANGE, WHOLE = 1 << 56, 1 << 64

# exp as the engine computes it, 2^n p(r): Taylor's series, two parts of ln 2, and 1.5 * 2^52 to round
TAYLOR = [1 / 479001600, 1 / 39916800, 1 / 3628800, 1 / 362880, 1 / 40320, 1 / 5040, 1 / 720, 1 / 120, 1 / 24, 1 / 6]
HIGH, LOW, TO_WHOLE = 0.693147180369123816490, 1.90821492927058770002e-10, 6755399441055744.0


class Readable(Protocol):
    """The part of a stream that a coder needs: `advance` reads units, `next_logits` (V,) predicts the next one."""

    def advance(self, units: ArrayLike) -> None: ...
    def next_logits(self) -> NDArray[np.float32]: ...


def shares(logits: NDArray[np.float32]) -> list[int]:
    """The ends (V,) of the units' shares; a share's width is 1 + floor(2^32 exp(logit - the best logit)).

    Each operation rounds once in IEEE double, so that every machine computes the same. ValueError unless all logits are
    finite.
    """
    ends: list[int] = np.cumsum(1 + (weights(logits) * BEST).astype(np.int64)).tolist()
    return ends


def weights(logits: NDArray[np.float32]) -> NDArray[np.float64]:
    """exp(logit - the best logit) of each unit (V,), the same on every machine. ValueError unless all are finite."""
    if not np.isfinite(logits).all():
        raise ValueError("the model's scores are not finite; training diverged or the model file is damaged")
    x = np.maximum(logits.astype(np.float64) - np.float64(logits.max()), -708.0)
    n = (x * 1.4426950408889634 + TO_WHOLE) - TO_WHOLE
    r = (x - n * HIGH) - n * LOW
    p = np.full_like(r, 1 / 6227020800)
    for factor in TAYLOR:
        p = p * r + factor
    p = p * r + 0.5
    p = p * (r * r) + r + 1.0
    exact: NDArray[np.float64] = np.ldexp(p, n.astype(np.int64))
    return exact


class Encoder:
    """Reads units into a stream and codes each by the probability that the stream gave it."""

    def __init__(self, stream: Readable) -> None:
        self._stream = stream
        self._low, self._range, self._shifts = 0, WHOLE - 1, 0  # low of 64 + 8 shifts bits: the code so far

    def put(self, units: ArrayLike) -> None:
        """Codes units and reads them. ValueError for units beyond the vocabulary and for logits that are not finite."""
        for unit in np.asarray(units).tolist():
            ends = shares(self._stream.next_logits())
            self._stream.advance([unit])
            begin, part = ends[unit - 1] if unit else 0, self._range // ends[-1]
            self._low += part * begin
            self._range = part * (ends[unit] - begin)
            while self._range < LEAST_RANGE:
                self._low, self._range, self._shifts = self._low << 8, self._range << 8, self._shifts + 1

    def finish(self) -> bytes:
        """The code of all units: the shortest bytes within the range; zeros at its end are left out."""
        step = WHOLE if -self._low % WHOLE < self._range else LEAST_RANGE  # the range holds a multiple of it
        last = (self._low + step - 1) // step * (step // LEAST_RANGE)
        return last.to_bytes(self._shifts + 1, "big").rstrip(b"\0")


class Decoder:
    """Decodes units and reads them into a stream, which starts in the state where the encoder's stream started."""

    def __init__(self, stream: Readable, code: bytes) -> None:
        self._stream = stream
        self._code = iter(code)
        self._offset, self._range = 0, WHOLE - 1
        for _ in range(8):
            self._shift()

    def get(self, count: int) -> NDArray[np.uint32]:
        """The next `count` units. Raises ValueError where the code cannot be one of this stream."""
        return np.array([self._next() for _ in range(count)], np.uint32)

    def _next(self) -> int:
        ends = shares(self._stream.next_logits())
        part = self._range // ends[-1]
        position = self._offset // part
        if position >= ends[-1]:
            raise ValueError("the code is damaged")
        unit = int(np.searchsorted(ends, position, side="right"))
        begin = ends[unit - 1] if unit else 0
        self._offset -= part * begin
        self._range = part * (ends[unit] - begin)
        while self._range < LEAST_RANGE:
            self._range <<= 8
            self._shift()
        self._stream.advance([unit])
        return unit

    def _shift(self) -> None:
        self._offset = self._offset << 8 | next(self._code, 0)
