"""A packed model as a program uses it: text in, text out, no torch.

    model = cpu1.load("model.cpu1")
    print(model.generate("Once upon a time", max_bytes=200))
    bits = model.score(b"how surprising is each byte?")

The native engine runs it, or the numpy reference where cpu1 was installed without a compiler.

Shapes: N units, V symbols.
"""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from cpu1.errors import UserError
from cpu1.format.tokens import Tokens
from cpu1.lookups.contexts import COUNTS
from cpu1.runtime import engine
from cpu1.runtime.sampling import Sampler, Sampling, is_whole
from cpu1.runtime.text import as_bytes, stream_text

BYTES = 256
CHUNK_UNITS = 16  # units generated at a time: four patches
PART_UNITS = 1 << 14  # units read at a time, by a few hundred thousand a second at nano and 20,000 at base
MOST_THREADS = 256  # the engine's limit

Units = NDArray[np.uint32]


class UnitEncoder(Protocol):
    """An arithmetic encoder: `put` codes units and reads them into its stream, `finish` returns the code."""

    def put(self, units: Units) -> None: ...
    def finish(self) -> bytes: ...


class UnitDecoder(Protocol):
    """An arithmetic decoder: `get` returns the next units, and reads them into its stream."""

    def get(self, count: int) -> Units: ...


class Stream(Protocol):
    """One stream of units: `session.Session` of the engine, or `plain.PlainSession` over the reference."""

    state: bytes

    def advance(self, units: Units) -> None: ...
    def next_logits(self) -> NDArray[np.float32]: ...
    def score(self, units: Units) -> NDArray[np.float64]: ...
    def generate(self, count: int, sampler: Sampler, may_end: bool = ...) -> Units: ...
    def encoder(self) -> UnitEncoder: ...
    def decoder(self, code: bytes) -> UnitDecoder: ...


class PackedModel:
    """The model of one file, and the `state` that its texts start from: the start of a document, until `advance`.

    `generate`, `stream` and `score` start from `state` and do not change it, so that one long prompt serves many texts.
    They may be used from several threads at once. `session` opens a stream with a state of its own.
    """

    def __init__(self, path: str | Path, threads: int = 1, arithmetic: str | None = None, learn: bool = False) -> None:
        """`arithmetic` forces one that gives the same results to the bit, see the property (default: the fastest).

        `learn`: its streams learn from what they read (docs/lookups.md). What a model draws itself it does not learn.
        Raises UserError naming the file and what is wrong with it, or an arithmetic that this machine lacks.
        """
        if not (is_whole(threads) and 1 <= threads <= MOST_THREADS):
            raise UserError(f"threads is {threads!r}; give a whole number from 1 to {MOST_THREADS}")
        self.path, self.threads, self.learn = Path(path), int(threads), learn
        self._state: bytes | None = None  # the start of a document
        try:
            self._open = _open(self.path, arithmetic)
            self.tokens = Tokens.parse(self._open.tokenizer) if self._open.tokenizer else None
        except ValueError as error:
            raise UserError(f"{error}" if str(path) in str(error) else f"{path}: {error}") from None
        self._check_learning(learn)

    @property
    def about(self) -> dict[str, Any]:
        """The file's description of itself: recipe, run, program, ..."""
        return self._open.about

    @property
    def native(self) -> bool:
        """Whether the native engine runs it, not the numpy reference."""
        return engine.available()

    @property
    def arithmetic(self) -> str:
        """The name of the model's arithmetic: the same file, text and arithmetic give the same bits."""
        return self._open.arithmetic

    @property
    def separator(self) -> int:
        """The unit between documents. In older models of bytes it is NUL, in others none of the bytes."""
        return self._open.separator

    def session(self, learn: bool | None = None, counts: int = COUNTS) -> Stream:
        """A stream that starts from `state`, for one thread at a time.

        `learn`: whether it learns from what it reads, with 2^`counts` counts a context; None: as the model was loaded.
        Raises UserError for a model of
        tokens, ValueError where `state` is of streams that do otherwise.
        """
        learns = self.learn if learn is None else learn
        self._check_learning(learns)
        stream = self._open.session(self.threads, learns, counts)
        if self._state is not None:
            stream.state = self._state
        return stream

    def _check_learning(self, learns: bool) -> None:
        if learns and self.tokens is not None:
            raise UserError(f"{self.path}: learning is for models that read bytes; this one reads tokens")

    @property
    def state(self) -> bytes:
        """The state from which texts start; may be set to one of a session of the same model (else ValueError)."""
        return self.session().state

    @state.setter
    def state(self, state: bytes) -> None:
        self._open.session(self.threads, self.learn, COUNTS).state = state  # refuses what is not a state
        self._state = state

    def advance(self, text: bytes) -> None:
        """Reads text into `state`: texts then continue it."""
        stream = self.session()
        self._read(stream, text)
        self._state = stream.state

    def prime(self, text: str | bytes) -> None:
        """Reads a text of the user's own, so that what follows is remembered, and learned where the model learns."""
        self.advance(as_bytes(text))

    def _read(self, stream: Stream, text: bytes) -> None:
        for part in _parts(self.encode(text)):
            stream.advance(part)

    def encode(self, text: str | bytes) -> Units:
        """Bytes to units: themselves, or BPE tokens. UserError for what is neither text nor bytes."""
        data = as_bytes(text)
        units = self.tokens.encode(data) if self.tokens else np.frombuffer(data, np.uint8)
        return units.astype(np.uint32)

    def decode(self, units: Units) -> bytes:
        """Units to bytes; separators give none."""
        if self.tokens is None:
            return units[units < BYTES].astype(np.uint8).tobytes()
        return self.tokens.decode(units)

    def chunks(
        self, prompt: bytes = b"", max_bytes: int = 256, sampling: Sampling | None = None, may_end: bool = True
    ) -> Iterator[bytes]:
        """Yields bytes that continue `prompt`, a few at a time, at most `max_bytes` in all.

        Ends early at a document separator; without `may_end` none is drawn. Raises UserError for scores not finite.
        """
        stream, sampler, written = self.session(), Sampler(sampling or Sampling()), 0
        self._read(stream, prompt)
        while written < max_bytes:
            count = min(CHUNK_UNITS, max_bytes - written)
            units = stream.generate(count, sampler, may_end)
            text = self.decode(units)[: max_bytes - written]
            written += len(text)
            yield text
            if len(units) < count:
                return

    def stream(
        self, prompt: str | bytes = "", max_bytes: int = 256, stop: Sequence[str] | None = (), **sampling: Any
    ) -> Iterator[str]:
        """Yields text that continues `prompt` as it is drawn, whole characters only; `sampling` as in `Sampling`."""
        chunks = self.chunks(as_bytes(prompt), max_bytes, Sampling(**sampling))
        return stream_text(chunks, stop)

    def generate(
        self, prompt: str | bytes = "", max_bytes: int = 256, stop: Sequence[str] | None = (), **sampling: Any
    ) -> str:
        """The whole of `stream`."""
        return "".join(self.stream(prompt, max_bytes, stop, **sampling))

    def score(self, text: str | bytes) -> NDArray[np.float64]:
        """Bits of each byte of a document (bytes,), -log2 p given all before it. A token's are spread evenly."""
        units, stream = self.encode(text), self.session()
        bits = np.concatenate([stream.score(part) for part in _parts(units)]) / np.log(2)
        if self.tokens is None:
            return bits
        lengths = np.array([len(self.tokens.token_bytes[unit]) for unit in units.tolist()], np.int64)
        return np.repeat(bits / np.maximum(lengths, 1), lengths)


def _parts(units: Units) -> list[Units]:
    """Units in pieces, all patches whole but the last: between two of them Ctrl-C is heard. One piece at least."""
    return [units[i : i + PART_UNITS] for i in range(0, max(1, len(units)), PART_UNITS)]


def _open(path: Path, arithmetic: str | None) -> "_native | _plain":
    if arithmetic == "numpy" or (arithmetic is None and not engine.available()):
        return _plain(path)
    if arithmetic is None:
        return _native(path)
    isas = engine.isas() if engine.available() else []
    for isa in isas:
        if engine.arithmetic(isa) == arithmetic:
            return _native(path, isa)
    known = {engine.arithmetic(isa): None for isa in isas}
    raise UserError(f"this machine has no arithmetic {arithmetic!r}; it has {', '.join([*known, 'numpy'])}")


class _native:
    """The file in the native engine."""

    def __init__(self, path: Path, isa: str = "") -> None:
        self.engine = engine.Engine(path, isa)
        self.arithmetic = self.engine.arithmetic
        self.about, self.tokenizer = self.engine.about, self.engine.tokenizer
        self.separator = self.engine.separator

    def session(self, threads: int, learn: bool, counts: int) -> Stream:
        from cpu1.runtime.session import Session

        return Session(self.engine, threads, learn, counts)


class _plain:
    """The file in the numpy reference."""

    arithmetic = "numpy"

    def __init__(self, path: Path) -> None:
        from cpu1.format.packed import open_packed
        from cpu1.runtime.reference import Reference

        packed = open_packed(path)
        self.reference = Reference(packed)
        self.tokenizer, self.separator = packed.tokenizer, packed.program.separator
        self.about = {"program": packed.program.to_json(), "recipe": packed.recipe, "run": packed.run}

    def session(self, threads: int, learn: bool, counts: int) -> Stream:
        from cpu1.runtime.plain import PlainSession

        return PlainSession(self.reference, learn, counts)
