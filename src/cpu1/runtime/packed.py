"""A packed model as a program uses it: text in, text out, no torch.

    model = cpu1.load("model.cpu1")
    print(model.generate("Once upon a time", max_bytes=200))
    bits = model.score(b"how surprising is each byte?")

The native engine runs it; where no compiler was at hand when cpu1 was installed, the numpy reference does.
"""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from cpu1.errors import UserError
from cpu1.runtime import engine
from cpu1.sampling import Sampler, Sampling
from cpu1.text import stream_text
from cpu1.tokens import SEPARATOR, Tokens

CHUNK_UNITS = 16  # generated between two looks at what was written: four patches

Units = NDArray[np.uint32]


class Encoder(Protocol):
    def put(self, units: Units) -> None: ...
    def finish(self) -> bytes: ...


class Decoder(Protocol):
    def get(self, count: int) -> Units: ...


class Stream(Protocol):
    """One stream of units: `session.Session` of the engine, or its slow twin over the reference."""

    state: bytes

    def advance(self, units: Units) -> None: ...
    def next_logits(self) -> NDArray[np.float32]: ...
    def score(self, units: Units) -> NDArray[np.float64]: ...
    def generate(self, count: int, sampler: Sampler, end: int | None = ..., may_end: bool = ...) -> Units: ...
    def encoder(self) -> Encoder: ...
    def decoder(self, code: bytes) -> Decoder: ...


class PackedModel:
    """The model of one file, and the `state` that its texts start from: the start of a document, until `advance`.

    `generate`, `stream` and `score` start from `state` and leave it as it is, so that one long prompt serves many
    texts; they may be used from several threads at once. Sessions of one's own come from `session`.
    """

    def __init__(self, path: str | Path, threads: int = 1, arithmetic: str | None = None) -> None:
        """`arithmetic`: whose results it must give to the bit, as a model's `arithmetic` says (default: the fastest).

        Raises UserError naming the file and what is wrong with it, or an arithmetic that this machine lacks.
        """
        self.path, self.threads = Path(path), threads
        self._state: bytes | None = None  # the start of a document
        try:
            self._open = _open(self.path, arithmetic)
            self.tokens = Tokens.parse(self._open.tokenizer) if self._open.tokenizer else None
        except ValueError as error:
            raise UserError(f"{error}" if str(path) in str(error) else f"{path}: {error}") from None

    @property
    def about(self) -> dict[str, Any]:
        """What the file says of itself: recipe, run, program, ..."""
        return self._open.about

    @property
    def native(self) -> bool:
        """Whether the native engine runs it, not the numpy reference."""
        return engine.available()

    @property
    def arithmetic(self) -> str:
        """What the last bits of its results depend on: the same file, text and arithmetic give the same bits."""
        return self._open.arithmetic

    def session(self) -> Stream:
        """A stream that stands where `state` does, for one thread at a time."""
        stream = self._open.session(self.threads)
        if self._state is not None:
            stream.state = self._state
        return stream

    @property
    def state(self) -> bytes:
        """Where texts start from; may be set to what a session of the same model had (else ValueError)."""
        return self.session().state

    @state.setter
    def state(self, state: bytes) -> None:
        self._open.session(self.threads).state = state  # refuses what is not a state
        self._state = state

    def advance(self, text: bytes) -> None:
        """Reads text: what follows continues it."""
        stream = self.session()
        stream.advance(self.encode(text))
        self._state = stream.state

    def encode(self, text: bytes) -> Units:
        """Bytes to units: themselves, or BPE tokens."""
        units = self.tokens.encode(text) if self.tokens else np.frombuffer(text, np.uint8)
        return units.astype(np.uint32)

    def decode(self, units: Units) -> bytes:
        """Units to bytes."""
        if self.tokens is None:
            return units.astype(np.uint8).tobytes()
        return self.tokens.decode(units)

    def chunks(
        self, prompt: bytes = b"", max_bytes: int = 256, sampling: Sampling | None = None, may_end: bool = True
    ) -> Iterator[bytes]:
        """Yields what follows `prompt`, a few bytes at a time, at most `max_bytes` in all.

        Ends early at a document separator, unless it `may_end` not: then none is drawn.
        """
        stream, sampler, written = self.session(), Sampler(sampling or Sampling()), 0
        stream.advance(self.encode(prompt))
        while written < max_bytes:
            count = min(CHUNK_UNITS, max_bytes - written)
            units = stream.generate(count, sampler, SEPARATOR, may_end)
            text = self.decode(units)[: max_bytes - written]
            written += len(text)
            yield text
            if len(units) < count:
                return

    def stream(
        self, prompt: str = "", max_bytes: int = 256, stop: Sequence[str] = (), **sampling: Any
    ) -> Iterator[str]:
        """Yields text that continues `prompt` as it is drawn, whole characters only; `sampling` as in `Sampling`."""
        chunks = self.chunks(prompt.encode(errors="surrogateescape"), max_bytes, Sampling(**sampling))
        return stream_text(chunks, stop)

    def generate(self, prompt: str = "", max_bytes: int = 256, stop: Sequence[str] = (), **sampling: Any) -> str:
        """The whole of `stream`."""
        return "".join(self.stream(prompt, max_bytes, stop, **sampling))

    def score(self, text: bytes) -> NDArray[np.float64]:
        """Bits of each byte of a document, -log2 p given all before it: (len(text),). A token's are spread evenly."""
        units = self.encode(text)
        bits = self.session().score(units) / np.log(2)
        if self.tokens is None:
            return bits
        lengths = np.array([len(self.tokens.token_bytes[unit]) for unit in units.tolist()], np.int64)
        return np.repeat(bits / np.maximum(lengths, 1), lengths)


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

    def session(self, threads: int) -> Stream:
        from cpu1.runtime.session import Session

        return Session(self.engine, threads)


class _plain:
    """The file in the numpy reference."""

    arithmetic = "numpy"

    def __init__(self, path: Path) -> None:
        from cpu1.pack import open_packed
        from cpu1.runtime.reference import Reference

        packed = open_packed(path)
        self.reference = Reference(packed)
        self.tokenizer = packed.tokenizer
        self.about = {"program": packed.program.to_json(), "recipe": packed.recipe, "run": packed.run}

    def session(self, threads: int) -> Stream:
        from cpu1.runtime.plain import PlainSession

        return PlainSession(self.reference)
