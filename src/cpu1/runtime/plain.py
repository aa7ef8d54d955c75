"""A stream over the numpy reference with the interface of the engine's session: slow, for builds without a compiler.

Shapes: N units, V symbols.
"""

import numpy as np
from numpy.typing import ArrayLike, NDArray

from cpu1.format.tokens import SEPARATOR
from cpu1.runtime.coder import Decoder, Encoder
from cpu1.runtime.reference import Reference, State
from cpu1.runtime.sampling import Sampler

FORBIDDEN = np.float32(-1e30)


class PlainSession:
    """One stream, at the start of a document. Its saved state is the text so far, which is read again to restore it."""

    def __init__(self, reference: Reference) -> None:
        self.reference = reference
        self._begin()

    def _begin(self) -> None:
        self._read: list[int] = []
        self._begun: list[int] = []  # units of a step that is not whole yet
        self._state: State = self.reference.start()

    def advance(self, units: ArrayLike) -> None:
        """Reads units. Raises ValueError for units beyond the vocabulary."""
        for unit in np.asarray(units).tolist():
            self._advance(unit)

    def _advance(self, unit: int) -> None:
        self._read.append(unit)
        self._begun.append(unit)
        if len(self._begun) == self.reference.program.patch:
            self._state = self.reference.advance(self._begun, self._state)
            self._begun = []

    def next_logits(self) -> NDArray[np.float32]:
        """Logits (V,) of the next unit."""
        return self.reference.next_logits(self._begun, self._state)

    def score(self, units: ArrayLike) -> NDArray[np.float64]:
        """Reads units (N,); returns the cost of each in nats (N,)."""
        costs = []
        for unit in np.asarray(units).tolist():
            logits = self.next_logits().astype(np.float64)
            peak = logits.max()
            costs.append(np.log(np.exp(logits - peak).sum()) + peak - logits[unit])
            self._advance(unit)
        return np.array(costs)

    def generate(
        self, count: int, sampler: Sampler, end: int | None = SEPARATOR, may_end: bool = True
    ) -> NDArray[np.uint32]:
        """Draws up to `count` units and reads them. Stops before the unit `end`; without `may_end`, never draws it."""
        drawn: list[int] = []
        while len(drawn) < count:
            logits = self.next_logits()
            if end is not None and not may_end:
                logits[end] = FORBIDDEN
            unit = sampler(logits)
            if unit == end:
                break
            drawn.append(unit)
            self._advance(unit)
        return np.array(drawn, np.uint32)

    def encoder(self) -> Encoder:
        """An encoder of units by this stream's probabilities, which also reads them."""
        return Encoder(self)

    def decoder(self, code: bytes) -> Decoder:
        """A decoder of a code made by a stream in the same state, which also reads the units."""
        return Decoder(self, code)

    @property
    def state(self) -> bytes:
        """The stream's state, which may be set. Raises ValueError for what is not a saved state."""
        return np.array(self._read, np.uint32).tobytes()

    @state.setter
    def state(self, state: bytes) -> None:
        if len(state) % 4:
            raise ValueError("not a saved state")
        self._begin()
        self.advance(np.frombuffer(state, np.uint32))
