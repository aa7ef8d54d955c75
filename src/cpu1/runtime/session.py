"""One text that a model reads and continues: its session.

    session = cpu1.load().session()
    session.read("Once upon a time")
    other = session.fork()
    print(session.generate(40), other.next_bytes().argmax())

Shapes: N bytes.
"""

from collections.abc import Callable, Iterator, Sequence
from typing import Unpack

import numpy as np
from numpy.typing import NDArray

from cpu1.errors import UserError
from cpu1.runtime import completion
from cpu1.runtime.sampling import Sampler, Sampling, SamplingOptions, sampling_of, whole
from cpu1.runtime.text import stream_text
from cpu1.runtime.units import Completion, Spelling, UnitStream, parts

CHUNK_UNITS = 16  # units generated at a time: four patches


class Session:
    """One text. Made by `Model.session`; for one thread at a time, while sessions are independent of each other."""

    def __init__(self, make: Callable[[], UnitStream], spelling: Spelling) -> None:
        """`make` returns a new stream, at the place where this session starts."""
        self._make, self._spelling = make, spelling
        self._stream = make()

    def read(self, text: str | bytes) -> None:
        """Reads text, which all that follows continues. Its lookups remember it; it learns from it where it learns.

        UserError for what is neither text nor bytes.
        """
        for part in parts(self._spelling.encode(text)):
            self._stream.advance(part)

    def score(self, text: str | bytes) -> NDArray[np.float64]:
        """Reads text (N bytes); returns the bits of each byte (N,), -log2 p given all before it.

        A token's bits are spread evenly over its bytes.
        """
        units = self._spelling.encode(text)
        nats = np.concatenate([self._stream.score(part) for part in parts(units)])
        return self._spelling.spread(nats / np.log(2), units)

    def next_bytes(self, prefix: str | bytes = b"") -> NDArray[np.float64]:
        """Probabilities (256,) of the byte after `prefix`, which itself is not kept. At any place, also inside a patch.

        They sum to 1, less what a document's end has in models whose end is no byte. UserError for a model of tokens.
        """
        self._check_bytes("next_bytes")
        session = self.fork() if len(prefix) else self
        session.read(prefix)
        return completion.probabilities(session._stream)

    def complete(self, prefix: str | bytes = b"", n: int = 5, max_bytes: int = 24) -> list[Completion]:
        """The `n` likeliest ends of the word that `prefix` ends in, or next words, likeliest first.

        An end is at most `max_bytes` long and begins with a blank where the word before is whole. `prefix` is not kept.
        `docs/api.md` defines what a word is. UserError for a model of tokens.
        """
        self._check_bytes("complete")
        n, max_bytes = whole("n", n, 1, completion.MOST), whole("max_bytes", max_bytes, 1, completion.LONGEST)
        session = self.fork() if len(prefix) else self
        session.read(prefix)
        return session._stream.complete(n, max_bytes)

    def chunks(self, max_bytes: int = 256, sampling: Sampling | None = None, may_end: bool = True) -> Iterator[bytes]:
        """Yields bytes that continue what was read, a few at a time, at most `max_bytes` in all, and reads them.

        Ends early at a document separator; without `may_end` none is drawn. UserError for scores not finite.
        """
        sampler, written = Sampler(sampling or Sampling()), 0
        while written < max_bytes:
            count = min(CHUNK_UNITS, max_bytes - written)
            try:
                units = self._stream.generate(count, sampler, may_end)
            except ValueError as error:
                raise UserError(str(error)) from None
            text = self._spelling.decode(units)[: max_bytes - written]
            written += len(text)
            yield text
            if len(units) < count:
                return

    def stream(
        self, max_bytes: int = 256, stop: Sequence[str | bytes] | None = (), **sampling: Unpack[SamplingOptions]
    ) -> Iterator[str]:
        """Yields text that continues what was read, whole characters only, and reads it.

        What is drawn goes into the session a few patches at a time: after a stop string, more than was yielded.
        """
        max_bytes = whole("max_bytes", max_bytes, 0)
        return stream_text(self.chunks(max_bytes, sampling_of(sampling)), stop)

    def generate(
        self, max_bytes: int = 256, stop: Sequence[str | bytes] | None = (), **sampling: Unpack[SamplingOptions]
    ) -> str:
        """The whole of `stream`."""
        return "".join(self.stream(max_bytes, stop, **sampling))

    def fork(self) -> "Session":
        """Another session in the same place."""
        other = Session(self._make, self._spelling)
        other.restore(self.save())
        return other

    def save(self) -> bytes:
        """The session's state, for `restore` of any session of the same model, now or in another process."""
        return self._stream.state

    def restore(self, state: bytes) -> None:
        """Goes on from a saved state. UserError, and nothing changes, for what is no state of such a session."""
        if not isinstance(state, bytes):
            raise UserError(f"a state is bytes, as Session.save returns them, not {type(state).__name__}")
        try:
            self._stream.state = state
        except ValueError as error:
            raise UserError(str(error)) from None

    def _check_bytes(self, what: str) -> None:
        if self._spelling.tokens is not None:
            raise UserError(f"{what} is for models that read bytes; this one reads tokens")
