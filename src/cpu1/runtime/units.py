"""Units, what a model reads: bytes, or BPE tokens. How text is spelled in them, and what a stream of them can do.

Shapes: N units, V symbols.
"""

from dataclasses import dataclass
from typing import NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from cpu1.format.tokens import Tokens
from cpu1.runtime.sampling import Sampler
from cpu1.runtime.text import as_bytes

PART_UNITS = 1 << 14  # units read at a time, by a few hundred thousand a second at nano and 20,000 at base

BYTES = 256

Units = NDArray[np.uint32]


class UnitEncoder(Protocol):
    """An arithmetic encoder: `put` codes units and reads them into its stream, `finish` returns the code."""

    def put(self, units: Units) -> None: ...
    def finish(self) -> bytes: ...


class UnitDecoder(Protocol):
    """An arithmetic decoder: `get` returns the next units, and reads them into its stream."""

    def get(self, count: int) -> Units: ...


class Completion(NamedTuple):
    """How a text may go on to the end of a word."""

    data: bytes
    probability: float  # of these bytes, and of the word's end after them

    @property
    def text(self) -> str:
        """As text; bytes that are not UTF-8 become U+FFFD."""
        return self.data.decode(errors="replace")


class Drawing(Protocol):
    """The part of a stream that a beam search needs: its state, what comes next, and a unit read as if drawn."""

    state: bytes

    def next_logits(self) -> NDArray[np.float32]: ...
    def draw(self, unit: int) -> None: ...


class UnitStream(Drawing, Protocol):
    """One stream of units: `streams.NativeStream` of the engine, or `plain.PlainStream` over the reference."""

    def advance(self, units: Units) -> None: ...
    def score(self, units: Units) -> NDArray[np.float64]: ...
    def generate(self, count: int, sampler: Sampler, may_end: bool = ...) -> Units: ...
    def complete(self, n: int, max_bytes: int) -> list[Completion]: ...
    def encoder(self) -> UnitEncoder: ...
    def decoder(self, code: bytes) -> UnitDecoder: ...


@dataclass(frozen=True)
class Spelling:
    """How a model's units spell text: as bytes, or as `tokens`."""

    tokens: Tokens | None

    def encode(self, text: str | bytes) -> Units:
        """The units of a text. UserError for what is neither text nor bytes."""
        data = as_bytes(text)
        units = self.tokens.encode(data) if self.tokens else np.frombuffer(data, np.uint8)
        return units.astype(np.uint32)

    def decode(self, units: Units) -> bytes:
        """The bytes that units stand for; separators give none."""
        if self.tokens is None:
            return units[units < BYTES].astype(np.uint8).tobytes()
        return self.tokens.decode(units)

    def spread(self, numbers: NDArray[np.float64], units: Units) -> NDArray[np.float64]:
        """A number of each unit (N,) as numbers of the units' bytes: each byte has an equal part."""
        if self.tokens is None:
            return numbers
        lengths = np.array([len(self.tokens.token_bytes[unit]) for unit in units.tolist()], np.int64)
        return np.repeat(numbers / np.maximum(lengths, 1), lengths)


def parts(units: Units) -> list[Units]:
    """Units in pieces, all patches whole but the last: between two of them Ctrl-C is heard. One piece at least."""
    return [units[i : i + PART_UNITS] for i in range(0, max(1, len(units)), PART_UNITS)]
