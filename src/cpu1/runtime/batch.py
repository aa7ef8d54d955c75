"""Many texts at once, which begin and end when they like: a pass over the weights serves all of them.

    batch = cpu1.load().batch(threads=2)
    first = batch.add("Once upon a time", max_bytes=100, seed=1)
    second = batch.add("The sea", max_bytes=40, stop=["."], temperature=0.5)
    for piece in batch:
        print(piece.stream, piece.text, piece.end)

A stream writes what `Model.generate` writes with the same arguments, to the bit, whatever runs beside it.

Shapes: N bytes.
"""

import threading
from collections.abc import Iterator, Sequence
from typing import NamedTuple, Protocol, Unpack

import numpy as np
from numpy.typing import NDArray

from cpu1.errors import UserError
from cpu1.runtime.sampling import Sampling, SamplingOptions, sampling_of, whole
from cpu1.runtime.text import Utf8Stream, stop_bytes
from cpu1.runtime.units import Units

MOST_STREAMS = 1 << 16


class Piece(NamedTuple):
    """What a step brought a stream. A stream that still reads its prompt has none."""

    stream: int  # as `Batch.add` returned it
    text: str  # whole characters only
    data: bytes  # all bytes, without what may become a stop string
    bits: NDArray[np.float64] | None  # of each byte of `data` (N,), where `add` asked for them
    end: str | None  # None: it goes on; "stop", "end" (of the document), "limit", or "error": scores are not finite


class Request(NamedTuple):
    """What a stream is to do, checked."""

    units: Units  # of the prompt
    max_bytes: int
    stops: tuple[bytes, ...]
    sampling: Sampling
    learn: bool
    may_end: bool
    bits: bool
    state: bytes | None  # where it starts; None: where the model's texts start


class Work(Protocol):
    """What runs the streams: the engine, or the plain form. `step` returns the fields of pieces, without their text."""

    def add(self, stream: int, request: Request) -> None: ...
    def cancel(self, stream: int) -> None: ...
    def step(self, patches: int) -> list[tuple[int, bytes, NDArray[np.float64] | None, str | None]]: ...


class Opener(Protocol):
    """The part of a model that a batch needs."""

    def encode(self, text: str | bytes) -> Units: ...
    def learns(self, learn: bool | None) -> bool: ...


class Batch:
    """Streams that join and leave. Made by `Model.batch`.

    `add` and `cancel` may be called from any thread and do not wait for a step; `step` from one thread at a time.
    """

    def __init__(self, model: Opener, work: Work, most: int) -> None:
        """Runs at most `most` streams at once."""
        self._model, self._work, self.most = model, work, most
        self._decoders: dict[int, Utf8Stream] = {}
        self._next = 0
        self._lock = threading.Lock()

    def __len__(self) -> int:
        """How many streams there are."""
        return len(self._decoders)

    def __contains__(self, stream: object) -> bool:
        return stream in self._decoders

    def __iter__(self) -> Iterator[Piece]:
        """Steps until no stream is left."""
        while len(self):
            yield from self.step()

    def add(
        self,
        prompt: str | bytes = "",
        max_bytes: int = 256,
        stop: Sequence[str | bytes] | None = (),
        *,
        learn: bool | None = None,
        state: bytes | None = None,
        may_end: bool = True,
        bits: bool = False,
        **sampling: Unpack[SamplingOptions],
    ) -> int:
        """A new stream that reads `prompt` and writes at most `max_bytes`; returns its number.

        `learn`: as in `Model.session`. `state`: where it starts, of `Session.save` (default: where the model's texts
        start). Without `may_end` it never draws a document's end. With `bits` its pieces have the cost of each byte.
        Raises UserError for arguments that `Model.generate` refuses too, and when the batch is full.
        """
        request = Request(
            self._model.encode(prompt),
            whole("max_bytes", max_bytes, 0, 1 << 40),
            stop_bytes(stop),
            sampling_of(sampling),
            self._model.learns(learn),
            may_end,
            bits,
            state,
        )
        with self._lock:
            if len(self._decoders) >= self.most:
                raise UserError(f"the batch is full: it runs {self.most:,} streams")
            stream, self._next = self._next, self._next + 1
            self._decoders[stream] = Utf8Stream()
        try:
            self._work.add(stream, request)
        except ValueError as error:
            del self._decoders[stream]
            raise UserError(str(error)) from None
        return stream

    def cancel(self, stream: int) -> None:
        """Ends a stream at once, also while it reads its prompt: no piece of it comes any more. Of none: nothing."""
        if self._decoders.pop(stream, None) is not None:
            self._work.cancel(stream)

    def step(self, patches: int = 1) -> list[Piece]:
        """Each stream writes `patches` patches or reads a part of its prompt; returns what came, by stream.

        Takes some milliseconds at most, however long the prompts are. Empty when nothing came, or nothing is left.
        """
        return [
            piece for found in self._work.step(whole("patches", patches, 1, 1 << 20)) if (piece := self._piece(*found))
        ]

    def _piece(self, stream: int, data: bytes, bits: NDArray[np.float64] | None, end: str | None) -> Piece | None:
        decoder = self._decoders.get(stream) if end is None else self._decoders.pop(stream, None)
        if decoder is None:  # it was cancelled while the step ran
            return None
        text = decoder.feed(data) + (decoder.flush() if end else "")
        return Piece(stream, text, data, bits, end)
