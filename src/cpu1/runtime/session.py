"""Streams of units through the engine: reading, predicting, scoring, generating, saving states.

Units are bytes, or tokens of a BPE model: `bytes`, or (N,) arrays of whole numbers. All calls release the GIL. One
session is for one thread at a time; sessions of one engine are independent. No result depends on the number of threads
or streams, nor on how units are divided among calls.

Shapes: N units, V symbols.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from cpu1.lookups.contexts import COUNTS
from cpu1.runtime.engine import Engine, native
from cpu1.runtime.sampling import Sampler

HALF = (1 << 64) - 1

UnitsLike = bytes | ArrayLike  # (N,) whole numbers


class Batch:
    """Independent streams, each at the start of a document. Each pass over the weights serves all of them."""

    def __init__(
        self, engine: Engine, streams: int, threads: int = 1, learn: bool = False, counts: int = COUNTS
    ) -> None:
        """`learn`: the streams learn from what they read (docs/lookups.md), with 2^`counts` counts a context.

        ValueError for a model of tokens.
        """
        self.engine, self.streams = engine, streams
        self._session = native().Session(engine.model, streams, threads)
        if learn:
            self._session.learn(counts)

    def advance(self, units: Sequence[UnitsLike]) -> None:
        """Reads units into each stream. Raises ValueError for units beyond the vocabulary."""
        rows = [_units(row) for row in units]
        counts = np.array([len(row) for row in rows], np.int64)
        self._session.advance(np.concatenate([np.empty(0, np.uint32), *rows]), counts)

    def next_logits(self) -> NDArray[np.float32]:
        """Logits (streams, V) of each stream's next unit."""
        out = np.empty((self.streams, self.engine.vocabulary), np.float32)
        self._session.logits(out)
        return out

    def score(self, units: Sequence[UnitsLike]) -> list[NDArray[np.float64]]:
        """Reads units into each stream; returns the cost of each unit in nats, an array (N,) for each stream.

        Raises ValueError for units beyond the vocabulary, and unless there is a row of units for each stream.
        """
        if len(units) != self.streams:
            raise ValueError(f"{len(units)} rows of units for {self.streams} streams")
        costs = []
        for stream, row in enumerate(map(_units, units)):
            costs.append(np.empty(len(row), np.float64))
            self._session.score(stream, row, costs[-1])
        return costs

    def generate(self, count: int, samplers: Sequence[Sampler], may_end: bool = True) -> list[NDArray[np.uint32]]:
        """Draws up to `count` units for each stream and reads them, in a single call of native code.

        A stream stops before a separator of documents; without `may_end`, none is drawn. Each stream has its own
        sampler, whose state advances. Raises ValueError unless the samplers agree in all settings but the seed.
        """
        if len(samplers) != self.streams:
            raise ValueError(f"{len(samplers)} samplers for {self.streams} streams")
        how = samplers[0].sampling
        settings = {(s.sampling.temperature, s.sampling.top_k, s.sampling.top_p, s.sampling.min_p) for s in samplers}
        if len(settings) != 1:
            raise ValueError("the samplers of a batch must have the same settings")
        random = np.array([_halves(sampler) for sampler in samplers], np.uint64)
        out = np.empty((self.streams, count), np.uint32)
        made = np.empty(self.streams, np.int64)
        top_k = min(how.top_k, self.engine.vocabulary)
        end = self.engine.separator
        self._session.generate(how.temperature, top_k, how.top_p, how.min_p, end, may_end, random, out, made)
        for sampler, row in zip(samplers, random.tolist(), strict=True):
            _advance(sampler, row)
        return [row[:length] for row, length in zip(out, made.tolist(), strict=True)]

    def encoder(self, stream: int) -> "EngineEncoder":
        """An encoder of units by a stream's probabilities, which also reads them into the stream."""
        return EngineEncoder(self._session, stream)

    def decoder(self, stream: int, code: bytes) -> "EngineDecoder":
        """A decoder of a code made by a stream in the same state, which also reads the units into the stream."""
        return EngineDecoder(self._session, stream, code)

    def save(self, stream: int) -> bytes:
        """The state of a stream, for `restore` of any session of the same model."""
        state: bytes = self._session.save(stream)
        return state

    def restore(self, stream: int, state: bytes) -> None:
        """Continues from a saved state. Raises ValueError, and changes nothing, when it is not one of this model."""
        self._session.restore(stream, state)

    def profile(self, on: bool | None = None) -> dict[str, tuple[float, int]]:
        """Seconds and calls of each operation since profiling was switched on; True and False switch and reset."""
        rows: list[tuple[str, int, int]] = self._session.profile(-1 if on is None else int(on))
        return {name: (nanoseconds / 1e9, calls) for name, nanoseconds, calls in rows}


class Session:
    """One stream: a batch of one, without the rows."""

    def __init__(self, engine: Engine, threads: int = 1, learn: bool = False, counts: int = COUNTS) -> None:
        """`learn` and `counts`: see `Batch`."""
        self.engine = engine
        self._batch = Batch(engine, 1, threads, learn, counts)

    def advance(self, units: UnitsLike) -> None:
        """Reads units. Raises ValueError for units beyond the vocabulary."""
        self._batch.advance([units])

    def next_logits(self) -> NDArray[np.float32]:
        """Logits (V,) of the next unit."""
        return self._batch.next_logits()[0]

    def score(self, units: UnitsLike) -> NDArray[np.float64]:
        """Reads units (N,); returns the cost of each in nats (N,)."""
        return self._batch.score([units])[0]

    def generate(self, count: int, sampler: Sampler, may_end: bool = True) -> NDArray[np.uint32]:
        """Draws up to `count` units and reads them; see `Batch.generate`."""
        return self._batch.generate(count, [sampler], may_end)[0]

    def encoder(self) -> "EngineEncoder":
        """See `Batch.encoder`."""
        return self._batch.encoder(0)

    def decoder(self, code: bytes) -> "EngineDecoder":
        """See `Batch.decoder`."""
        return self._batch.decoder(0, code)

    @property
    def state(self) -> bytes:
        """The stream's state; may be set to one of any session of the same model (else ValueError)."""
        return self._batch.save(0)

    @state.setter
    def state(self, state: bytes) -> None:
        self._batch.restore(0, state)

    def profile(self, on: bool | None = None) -> dict[str, tuple[float, int]]:
        """See `Batch.profile`."""
        return self._batch.profile(on)


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


def _halves(sampler: Sampler) -> list[int]:
    """PCG64's state and increment, high and low halves."""
    numbers: dict[str, Any] = sampler.state["state"]
    return [half for name in ("state", "inc") for half in (numbers[name] >> 64, numbers[name] & HALF)]


def _advance(sampler: Sampler, row: list[int]) -> None:
    """Sets the sampler's PCG64 to the state in the halves `row`."""
    state = sampler.state
    sampler.restore({**state, "state": {**state["state"], "state": row[0] << 64 | row[1]}})
