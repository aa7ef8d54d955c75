"""A packed model as a program uses it: text in, text out, no torch.

    model = cpu1.load("model.cpu1")
    print(model.generate("Once upon a time", max_bytes=200))
    bits = model.score(b"how surprising is each byte?")

The native engine runs it, or the numpy reference where cpu1 was installed without a compiler. docs/api.md shows every
call.

Shapes: N bytes, V symbols.
"""

import asyncio
from collections.abc import AsyncIterator, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Unpack, overload

import numpy as np
from numpy.typing import NDArray

from cpu1.errors import UserError
from cpu1.format.tokens import Tokens
from cpu1.lookups.contexts import COUNTS
from cpu1.runtime import engine
from cpu1.runtime.batch import MOST_STREAMS, Batch, Work
from cpu1.runtime.plain_batch import PlainBatch
from cpu1.runtime.sampling import Sampling, SamplingOptions, sampling_of, whole
from cpu1.runtime.session import Session
from cpu1.runtime.text import as_bytes, stream_text
from cpu1.runtime.units import Completion, Spelling, Units, UnitStream

Texts = list[str] | list[bytes] | list[str | bytes] | tuple[str | bytes, ...]
MOST_THREADS = 256  # the engine's limit


class Model:
    """The model of one file, and the `state` that its texts start from: the start of a document, until `prime`.

    All calls but `prime` start from `state` and do not change it, so that one long prompt serves many texts. They may
    be made from several threads at once.
    """

    def __init__(self, path: str | Path, threads: int = 1, arithmetic: str | None = None, learn: bool = False) -> None:
        """`arithmetic` forces one that gives the same results to the bit, see the property (default: the fastest).

        `learn`: its streams learn from what they read (docs/lookups.md). What a model draws itself it does not learn.
        Raises UserError naming the file and what is wrong with it, or an arithmetic that this machine lacks.
        """
        self.path, self.threads, self.learn = Path(path), whole("threads", threads, 1, MOST_THREADS), learn
        self._state: bytes | None = None  # the start of a document
        try:
            self._open = _open(self.path, arithmetic)
            self._spelling = Spelling(Tokens.parse(self._open.tokenizer) if self._open.tokenizer else None)
        except ValueError as error:
            raise UserError(f"{error}" if str(path) in str(error) else f"{path}: {error}") from None
        self.learns(learn)

    @property
    def about(self) -> dict[str, Any]:
        """The file's description of itself: recipe, run, program, ..."""
        return self._open.about

    @property
    def native(self) -> bool:
        """Whether the native engine runs it, not the numpy reference."""
        return self.arithmetic != "numpy"

    @property
    def tokens(self) -> Tokens | None:
        """The tokenizer of a model that reads tokens."""
        return self._spelling.tokens

    @property
    def separator(self) -> int:
        """The unit between documents. In older models of bytes it is NUL, in others none of the bytes."""
        return self._open.separator

    @property
    def arithmetic(self) -> str:
        """The name of the model's arithmetic: the same file, text and arithmetic give the same bits."""
        return self._open.arithmetic

    def generate(
        self,
        prompt: str | bytes = "",
        max_bytes: int = 256,
        stop: Sequence[str | bytes] | None = (),
        **sampling: Unpack[SamplingOptions],
    ) -> str:
        """Text that continues `prompt`: at most `max_bytes` of it, up to a stop string or the document's end.

        `sampling` as in `Sampling`: temperature, top_k, top_p, min_p, seed. UserError for a value out of its range.
        """
        return "".join(self.stream(prompt, max_bytes, stop, **sampling))

    def stream(
        self,
        prompt: str | bytes = "",
        max_bytes: int = 256,
        stop: Sequence[str | bytes] | None = (),
        **sampling: Unpack[SamplingOptions],
    ) -> Iterator[str]:
        """Yields the text of `generate` as it is drawn, whole characters only. Leaving it early costs nothing more."""
        chunks = self.chunks(as_bytes(prompt), whole("max_bytes", max_bytes, 0), sampling_of(sampling))
        return stream_text(chunks, stop)

    def astream(
        self,
        prompt: str | bytes = "",
        max_bytes: int = 256,
        stop: Sequence[str | bytes] | None = (),
        **sampling: Unpack[SamplingOptions],
    ) -> AsyncIterator[str]:
        """`stream` for `async for`: a thread of the event loop's draws, so that the loop goes on meanwhile."""
        return _asynchronous(self.stream(prompt, max_bytes, stop, **sampling))

    def chunks(
        self, prompt: bytes = b"", max_bytes: int = 256, sampling: Sampling | None = None, may_end: bool = True
    ) -> Iterator[bytes]:
        """Yields the bytes of `generate` without stop strings, a few at a time; see `Session.chunks`."""
        session = self.session()
        session.read(prompt)
        yield from session.chunks(max_bytes, sampling, may_end)

    @overload
    def score(self, text: str | bytes) -> NDArray[np.float64]: ...
    @overload
    def score(self, text: Texts) -> list[NDArray[np.float64]]: ...

    def score(self, text: str | bytes | Texts) -> NDArray[np.float64] | list[NDArray[np.float64]]:
        """Bits of each byte of a document (N,), -log2 p given all before it; of several, a list of such arrays.

        A token's bits are spread evenly over its bytes. Several documents are read side by side, with the model's
        threads. UserError for what is neither text nor bytes, nor a list of them.
        """
        if not isinstance(text, list | tuple):
            return self.session().score(as_bytes(text))
        data = [as_bytes(one) for one in text]
        with ThreadPoolExecutor(self.threads) as pool:
            return list(pool.map(lambda one: self._session(1, None, COUNTS).score(one), data))

    def next_bytes(self, prefix: str | bytes = b"") -> NDArray[np.float64]:
        """Probabilities (256,) of the byte after `prefix`; see `Session.next_bytes`."""
        return self.session().next_bytes(as_bytes(prefix))

    def complete(self, prefix: str | bytes = b"", n: int = 5, max_bytes: int = 24) -> list[Completion]:
        """The `n` likeliest ends of the word that `prefix` ends in, or next words; see `Session.complete`."""
        return self.session().complete(as_bytes(prefix), n, max_bytes)

    def session(self, learn: bool | None = None, counts: int = COUNTS) -> Session:
        """A text that starts from `state`, to be read and continued in any order. For one thread at a time.

        `learn`: whether it learns from what it reads, with 2^`counts` counts a context; None: as the model was loaded.
        Raises UserError for a model of tokens, and where `state` is of streams that do otherwise.
        """
        return self._session(self.threads, learn, counts)

    def _session(self, threads: int, learn: bool | None, counts: int) -> Session:
        try:
            return Session(lambda: self.units(learn, counts, threads), self._spelling)
        except ValueError as error:
            raise UserError(str(error)) from None

    def batch(self, threads: int | None = None, most: int = 1024) -> Batch:
        """Texts that are written at once, at most `most`, by `threads` (None: the model's) of the processor's cores.

        Its streams start from the `state` that the model has now.
        """
        threads = self.threads if threads is None else whole("threads", threads, 1, MOST_THREADS)
        return Batch(self, self._work(threads), whole("most", most, 1, MOST_STREAMS))

    def _work(self, threads: int) -> Work:
        if isinstance(self._open, _native):
            from cpu1.runtime.native_batch import NativeBatch

            return NativeBatch(self._open.file, threads, self._spelling, self._state, self.learn)
        return PlainBatch(lambda learn: self.units(learn, COUNTS, 1), self._spelling, self._open.patch)

    def units(self, learn: bool | None = None, counts: int = COUNTS, threads: int | None = None) -> UnitStream:
        """A stream that starts from `state`, of units: bytes, or tokens. `Session` is the same for text.

        Raises UserError for a model of tokens that shall learn, ValueError where `state` is of streams that do
        otherwise.
        """
        stream = self._open.stream(threads or self.threads, self.learns(learn), counts)
        if self._state is not None:
            stream.state = self._state
        return stream

    def learns(self, learn: bool | None) -> bool:
        """Whether a text learns, if `learn` is asked for; None: as the model was loaded. UserError where it cannot."""
        learns = self.learn if learn is None else learn
        if learns and self.tokens is not None:
            raise UserError(f"{self.path}: learning is for models that read bytes; this one reads tokens")
        return learns

    @property
    def state(self) -> bytes:
        """The state from which texts start; may be set to one of `Session.save` of the same model (else UserError)."""
        return self.units().state

    @state.setter
    def state(self, state: bytes) -> None:
        session = Session(lambda: self._open.stream(1, self.learn, COUNTS), self._spelling)
        session.restore(state)  # refuses what is not a state
        self._state = state

    def prime(self, text: str | bytes) -> None:
        """Reads text into `state`: texts then continue it, remember it, and have learned it where the model learns."""
        session = self.session()
        session.read(text)
        self._state = session.save()

    def encode(self, text: str | bytes) -> Units:
        """Bytes to units: themselves, or BPE tokens. UserError for what is neither text nor bytes."""
        return self._spelling.encode(text)

    def decode(self, units: Units) -> bytes:
        """Units to bytes."""
        return self._spelling.decode(units)


async def _asynchronous(texts: Iterator[str]) -> AsyncIterator[str]:
    """Each text is waited for in a thread. Left early, the iterator is closed as soon as its thread is back."""
    loop = asyncio.get_running_loop()
    while True:
        waiting = loop.run_in_executor(None, next, texts, None)
        try:
            text = await asyncio.shield(waiting)
        except BaseException:
            waiting.add_done_callback(lambda done: done.cancelled() or done.exception())
            raise
        if text is None:
            return
        yield text


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
        self.file = engine.NativeFile(path, isa)
        self.arithmetic, self.patch, self.separator = self.file.arithmetic, self.file.patch, self.file.separator
        self.about, self.tokenizer = self.file.about, self.file.tokenizer

    def stream(self, threads: int, learn: bool, counts: int) -> UnitStream:
        from cpu1.runtime.streams import NativeStream

        return NativeStream(self.file, threads, learn, counts)


class _plain:
    """The file in the numpy reference."""

    arithmetic = "numpy"

    def __init__(self, path: Path) -> None:
        from cpu1.format.packed import open_packed
        from cpu1.runtime.reference import Reference

        packed = open_packed(path)
        self.reference = Reference(packed)
        self.patch, self.separator, self.tokenizer = packed.program.patch, packed.program.separator, packed.tokenizer
        self.about = {"program": packed.program.to_json(), "recipe": packed.recipe, "run": packed.run}

    def stream(self, threads: int, learn: bool, counts: int) -> UnitStream:
        from cpu1.runtime.plain import PlainStream

        return PlainStream(self.reference, learn, counts)
