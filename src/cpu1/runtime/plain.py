"""A stream over the numpy reference with the interface of the engine's: slow, for builds without a compiler.

Shapes: N units, V symbols.
"""

import numpy as np
from numpy.typing import ArrayLike, NDArray

from cpu1.errors import UserError
from cpu1.lookups.contexts import COUNTS
from cpu1.lookups.learner import Learner
from cpu1.runtime.coder import Decoder, Encoder, weights
from cpu1.runtime.completion import complete
from cpu1.runtime.reference import Reference, State
from cpu1.runtime.sampling import Sampler
from cpu1.runtime.units import Completion

BYTES = 256
FORBIDDEN = np.float32(-1e30)
OWN = 31  # the bit of a saved unit that the model drew itself


class PlainStream:
    """One stream, at the start of a document. Its saved state is the text so far, which is read again to restore it."""

    def __init__(self, reference: Reference, learn: bool = False, counts: int = COUNTS) -> None:
        """`learn`: it learns from what it reads, with 2^`counts` counts a context. UserError for a model of tokens."""
        if learn and reference.program.level != "byte":
            raise UserError("learning is for models that read bytes; this one reads tokens")
        self.reference, self.learns, self.counts = reference, learn, counts
        self._begin()

    def _begin(self) -> None:
        self._read: list[int] = []
        self._begun: list[int] = []  # units of a step that is not whole yet
        self._own = 0  # how many of the last of these were drawn
        self._state: State = self.reference.start()
        parts = [len(op["contexts"]) + 1 for op in self.reference.program.lookups if op.name == "recall"]
        self._learner = Learner(sum(parts), self.counts) if self.learns else None

    def advance(self, units: ArrayLike) -> None:
        """Reads units. Raises ValueError for units beyond the vocabulary."""
        for unit in np.asarray(units).tolist():
            if self._learner is not None:
                self.next_logits()
            self._advance(unit)

    def _advance(self, unit: int, own: bool = False) -> None:
        """What learns must have been asked for the logits before."""
        if self._learner is not None:
            self._learner.learn(unit % BYTES, self._code(), own)  # a separator as NUL: nothing follows it
        self._read.append(unit | own << OWN)
        self._begun.append(unit)
        self._own += own
        if self.reference.is_whole(self._begun):
            self._state = self.reference.advance(self._begun, self._state, self._own)
            self._begun, self._own = [], 0

    def next_logits(self) -> NDArray[np.float32]:
        """Logits (V,) of the next unit."""
        logits = self.reference.next_logits(self._begun, self._state, self._own)
        if self._learner is not None:
            self._learner.correct(logits, weights(logits[:BYTES]), self._code())
        return logits

    def _code(self) -> NDArray[np.uint8]:
        return self.reference.memory_code(self._begun, self._state, self._own)

    def score(self, units: ArrayLike) -> NDArray[np.float64]:
        """Reads units (N,); returns the cost of each in nats (N,)."""
        costs = []
        for unit in np.asarray(units).tolist():
            logits = self.next_logits().astype(np.float64)
            peak = logits.max()
            costs.append(np.log(np.exp(logits - peak).sum()) + peak - logits[unit])
            self._advance(unit)
        return np.array(costs)

    def generate(self, count: int, sampler: Sampler, may_end: bool = True) -> NDArray[np.uint32]:
        """Draws up to `count` units and reads them. Stops before a separator; without `may_end`, never draws one."""
        end = self.reference.program.separator
        drawn: list[int] = []
        while len(drawn) < count:
            logits = self.next_logits()
            if not may_end:
                logits[end] = FORBIDDEN
            unit = sampler(logits)
            if unit == end:
                break
            drawn.append(unit)
            self._advance(unit, own=True)
        return np.array(drawn, np.uint32)

    def draw(self, unit: int) -> None:
        """Reads a unit as one that it drew itself, from which nothing is learned."""
        if self._learner is not None:
            self.next_logits()
        self._advance(unit, own=True)

    def complete(self, n: int, max_bytes: int) -> list[Completion]:
        """The `n` likeliest ends of a word; the stream's state stays as it is. For models of bytes."""
        state = self.state
        found = complete(self, n, max_bytes)
        self.state = state
        return found

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
        for unit in np.frombuffer(state, np.uint32).tolist():
            if self._learner is not None:
                self.next_logits()
            self._advance(unit & (1 << OWN) - 1, bool(unit >> OWN))
