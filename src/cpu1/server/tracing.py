"""Log-probabilities of each byte of a text, and of the likeliest bytes in its place.

Shapes: N bytes.
"""

from collections.abc import Iterable
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from cpu1.runtime.model import Model
from cpu1.runtime.text import Utf8Stream
from cpu1.server.readers import Check

PIECE = 256  # bytes between two checks whether the client has gone; whole patches
PIECE_OF_TOPS = 16
END = 256  # stands for the document's end where the model's separator is no byte
LEAST = -9999.0  # JSON has no infinity


class Row(NamedTuple):
    """A byte of a text, or the document's end after it."""

    symbol: int  # 0 to 255, or END
    logprob: float  # natural logarithm
    tops: tuple[tuple[int, float], ...]  # the likeliest symbols, likeliest first
    offset: int  # characters before the one that the byte belongs to


class Tracer:
    """Follows a text, and has a row for each byte. For one thread at a time."""

    def __init__(self, model: Model, tops: int) -> None:
        """`tops`: how many likeliest symbols each row has."""
        self._session = model.session()
        self._separator = model.separator
        self._tops = tops
        self._decoder, self._offset = Utf8Stream(), 0

    def read(self, data: bytes, check: Check) -> None:
        """Reads text without rows."""
        for start in range(0, len(data), PIECE):
            check()
            self._session.read(data[start : start + PIECE])
        self._offset += len(self._decoder.feed(data))

    def trace(self, data: bytes, check: Check) -> list[Row]:
        """Reads text (N bytes), and returns its N rows."""
        return [self._row(symbol, logprob, tops) for symbol, logprob, tops in self._traced(data, check)]

    def end(self) -> Row:
        """The row of the document's end at this place."""
        logprobs = self._logprobs()
        return self._row(END, float(logprobs[min(self._separator, END)]), self._best(logprobs))

    def _row(self, symbol: int, logprob: float, tops: tuple[tuple[int, float], ...]) -> Row:
        row = Row(symbol, max(logprob, LEAST), tops, self._offset)
        if symbol != END:
            self._offset += len(self._decoder.feed(bytes([symbol])))
        return row

    def _traced(self, data: bytes, check: Check) -> Iterable[tuple[int, float, tuple[tuple[int, float], ...]]]:
        if not self._tops:
            for start in range(0, len(data), PIECE):
                check()
                part = data[start : start + PIECE]
                bits = self._session.score(part)
                yield from zip(part, (-np.log(2) * bits).tolist(), [()] * len(part), strict=True)
            return
        for index, byte in enumerate(data):
            if index % PIECE_OF_TOPS == 0:
                check()
            logprobs = self._logprobs()
            yield byte, float(logprobs[byte]), self._best(logprobs)
            self._session.read(data[index : index + 1])

    def _logprobs(self) -> NDArray[np.float64]:
        """Of each byte, and of the document's end (257,)."""
        chances = np.append(self._session.next_bytes(), 0.0)
        if self._separator >= END:
            chances[END] = max(0.0, 1.0 - chances.sum())
        with np.errstate(divide="ignore"):
            return np.maximum(np.log(chances), LEAST)

    def _best(self, logprobs: NDArray[np.float64]) -> tuple[tuple[int, float], ...]:
        ordered = np.argsort(-logprobs, kind="stable")[: self._tops]
        return tuple((int(symbol), float(logprobs[symbol])) for symbol in ordered)
