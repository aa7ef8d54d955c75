"""A stream of units through the engine: reading, predicting, scoring, generating, saving states.

Units are bytes, or tokens of a BPE model: `bytes`, or (N,) arrays of whole numbers. All calls release the GIL. Streams
of one file are independent. No result depends on the number of threads, nor on how units are divided among calls.

Shapes: N units, V symbols.
"""

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from cpu1.lookups.contexts import COUNTS
from cpu1.runtime.completion import BEAM, WORD_BYTES
from cpu1.runtime.engine import NativeFile, native
from cpu1.runtime.sampling import Sampler
from cpu1.runtime.units import Completion

HALF = (1 << 64) - 1

UnitsLike = bytes | ArrayLike  # (N,) whole numbers


class NativeStream:
    """One stream of units, at the start of a document. Its calls wait for each other."""

    def __init__(self, file: NativeFile, threads: int = 1, learn: bool = False, counts: int = COUNTS) -> None:
        """`learn`: it learns from what it reads (docs/lookups.md), with 2^`counts` counts a context.

        ValueError for a model of tokens.
        """
        self.file = file
        self._session = native().Session(file.model, 1, threads)
        if learn:
            self._session.learn(counts)

    def advance(self, units: UnitsLike) -> None:
        """Reads units. Raises ValueError for units beyond the vocabulary."""
        row = _units(units)
        self._session.advance(row, np.array([len(row)], np.int64))

    def next_logits(self) -> NDArray[np.float32]:
        """Logits (V,) of the next unit."""
        out = np.empty((1, self.file.vocabulary), np.float32)
        self._session.logits(out)
        return out[0]

    def score(self, units: UnitsLike) -> NDArray[np.float64]:
        """Reads units (N,); returns the cost of each in nats (N,). ValueError for units beyond the vocabulary."""
        row = _units(units)
        nats = np.empty(len(row), np.float64)
        self._session.score(0, row, nats)
        return nats

    def generate(self, count: int, sampler: Sampler, may_end: bool = True) -> NDArray[np.uint32]:
        """Draws up to `count` units and reads them, in a single call of native code; the sampler's state advances.

        Stops before a separator of documents; without `may_end`, none is drawn.
        """
        how = sampler.sampling
        random, out, made = (
            np.array([halves(sampler)], np.uint64),
            np.empty((1, count), np.uint32),
            np.empty(1, np.int64),
        )
        top_k = min(how.top_k, self.file.vocabulary)
        end = self.file.separator
        self._session.generate(how.temperature, top_k, how.top_p, how.min_p, end, may_end, random, out, made)
        _advance(sampler, random[0].tolist())
        return out[0, : made[0]]

    def draw(self, unit: int) -> None:
        """Reads a unit as one that it drew itself, from which nothing is learned."""
        self._session.draw(0, unit)

    def complete(self, n: int, max_bytes: int) -> list[Completion]:
        """The `n` likeliest ends of a word (cpu1/runtime/completion.py). The stream stays as it is."""
        return [
            Completion(data, chance) for data, chance in self._session.complete(0, n, BEAM * n, max_bytes, WORD_BYTES)
        ]

    def encoder(self) -> "EngineEncoder":
        """An encoder of units by this stream's probabilities, which also reads them."""
        return EngineEncoder(self._session, 0)

    def decoder(self, code: bytes) -> "EngineDecoder":
        """A decoder of a code made by a stream in the same state, which also reads the units."""
        return EngineDecoder(self._session, 0, code)

    @property
    def state(self) -> bytes:
        """The stream's state; may be set to one of any stream of the same model.

        ValueError, and nothing changes, for another.
        """
        state: bytes = self._session.save(0)
        return state

    @state.setter
    def state(self, state: bytes) -> None:
        self._session.restore(0, state)

    def profile(self, on: bool | None = None) -> dict[str, tuple[float, int]]:
        """Seconds and calls of each operation since profiling was switched on; True and False switch and reset."""
        rows: list[tuple[str, int, int]] = self._session.profile(-1 if on is None else int(on))
        return {name: (nanoseconds / 1e9, calls) for name, nanoseconds, calls in rows}


class EngineEncoder:
    """The engine's form of `cpu1.runtime.coder.Encoder`: the same code."""

    def __init__(self, session: Any, stream: int) -> None:
        self._session, self._stream, self._coder = session, stream, native().Encoder()

    def put(self, units: UnitsLike) -> None:
        """Codes units and reads them. ValueError for units beyond the vocabulary and for logits that are not finite."""
        self._session.encode(self._stream, _units(units), self._coder)

    def finish(self) -> bytes:
        """The code of all units; may be called once."""
        code: bytes = self._coder.finish()
        return code


class EngineDecoder:
    """The engine's form of `cpu1.runtime.coder.Decoder`."""

    def __init__(self, session: Any, stream: int, code: bytes) -> None:
        self._session, self._stream, self._coder = session, stream, native().Decoder(code)

    def get(self, count: int) -> NDArray[np.uint32]:
        """The next `count` units. Raises ValueError where the code cannot be one of this stream."""
        out = np.empty(count, np.uint32)
        self._session.decode(self._stream, self._coder, out)
        return out


def _units(units: UnitsLike) -> NDArray[np.uint32]:
    if isinstance(units, (bytes, bytearray, memoryview)):
        return np.frombuffer(units, np.uint8).astype(np.uint32)
    numbers = np.asarray(units)
    if numbers.ndim != 1 or (numbers.size and numbers.dtype.kind not in "iu"):
        raise ValueError("units must be bytes or one row of whole numbers")
    if numbers.size and (numbers.min() < 0 or numbers.max() > 0xFFFFFFFF):
        raise ValueError("units must not be negative, nor beyond the vocabulary")
    return np.ascontiguousarray(numbers, np.uint32)


def halves(sampler: Sampler) -> list[int]:
    """PCG64's state and increment, high and low halves."""
    numbers: dict[str, Any] = sampler.state["state"]
    return [half for name in ("state", "inc") for half in (numbers[name] >> 64, numbers[name] & HALF)]


def _advance(sampler: Sampler, row: list[int]) -> None:
    """Sets the sampler's PCG64 to the state in the halves `row`."""
    state = sampler.state
    sampler.restore({**state, "state": {**state["state"], "state": row[0] << 64 | row[1]}})
