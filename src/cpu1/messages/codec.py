"""Bare codes of single messages: no head, no length, no check, unless one is asked for. docs/messages.md has each bit.

A code is arithmetic coding of the message and the separator after it, by a model that has read a sample of messages.
No code ends in a zero byte, so a zero byte at the end marks a message that is kept as it is.

Shapes: N units.
"""

import hashlib
import threading
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np

from cpu1.errors import UserError
from cpu1.files import digest
from cpu1.messages.sample import USUAL
from cpu1.runtime import adapter as adapters
from cpu1.runtime.default import default_model
from cpu1.runtime.model import Model
from cpu1.runtime.text import as_bytes
from cpu1.runtime.units import Units, UnitStream

VERSION = 1
ARITHMETIC = "fma"  # what AVX2 and NEON compute, the same on all processors that have them
VERBATIM = b"\0"
MOST_BYTES = 1 << 20  # of a message
LOOK = 4096  # units between two looks at whether a code is long enough for them
SPARE = 8  # bytes: zeros at the end of a code are left out, and more than eight will not be
DAMAGED = "the code is damaged, or was made by another codec"
MARK = "messages"  # what the header of a packed file has under `run` where the model was trained on single messages


class Codec:
    """Codes of single messages by one packed model. May be used from several threads at once."""

    def __init__(
        self,
        file: str | Path | None = None,
        adapter: str | Path | None = None,
        *,
        sample: Sequence[str | bytes] | None = None,
        check: bool = False,
        arithmetic: str = ARITHMETIC,
        most_bytes: int = MOST_BYTES,
    ) -> None:
        """A packed file (default: the bundled model), and what else must be the same on both sides.

        `adapter`: a file of `cpu1 messages train` or `cpu1 learn` to start from. `sample`: messages to read after it;
        by default `sample.USUAL`, but none where there is an adapter or the model was trained on messages.
        `check`: codes have one byte more, which shows 255 of 256 that are damaged or of another codec. `arithmetic`:
        see Model. Longer messages than `most_bytes` are refused, in both directions.

        Raises UserError for a file that is not valid, and where this machine lacks the arithmetic.
        """
        self.model = _opened(Path(default_model() if file is None else file), arithmetic)
        self.check, self.most_bytes = check, most_bytes
        if sample is None:
            sample = () if adapter is not None or self.model.about["run"].get(MARK) else USUAL
        self.sample = tuple(as_bytes(message) for message in sample)
        # what has read something learns on; without, learning from a single message brings nothing and takes time
        self.model.learn = self.model.tokens is None and bool(adapter is not None or self.sample)
        if adapter is not None:
            adapters.read(self.model, adapter)
        read_messages(self.model, self.sample)
        self._start = self.model.state
        self._local = threading.local()
        self._identity = self._identify(adapter)

    def _identify(self, adapter: str | Path | None) -> bytes:
        """SHA-256 of the version, and of the SHA-256 of each thing that must be the same on both sides."""
        parts = [digest(self.model.path), digest(Path(adapter)) if adapter is not None else bytes(32)]
        parts += [hashlib.sha256(each).digest() for each in (self.model.arithmetic.encode(), *self.sample)]
        return hashlib.sha256(b"cpu1m%c" % VERSION + b"".join(parts)).digest()

    @property
    def name(self) -> str:
        """Eight hexadecimal digits. Where they are equal on both sides, these understand each other."""
        return self._identity[:4].hex()

    def encode(self, message: str | bytes) -> bytes:
        """The code of a message: at most one byte longer, and one more with `check`. UserError for one too long."""
        data = as_bytes(message)
        self._check_size(len(data))
        return self._mark(data) + self._encode(data)

    def decode(self, code: bytes) -> bytes:
        """The message of a code. UserError for what `encode` does not write, as far as that can be known.

        A damaged code may be that of another message, and is accepted then. Fewer are with `check`.
        """
        mark, bare = code[: self.check], code[self.check :]
        data = bare[:-1] if bare[-1:] == VERBATIM else self._decode(bare)
        self._check_size(len(data))
        if self._mark(data) != mark or self._encode(data) != bare:
            raise UserError(DAMAGED)
        return data

    def _encode(self, data: bytes) -> bytes:
        """The code without the check."""
        if not data:
            return b""
        units = self.model.encode(data)
        if (units == self.model.separator).any():  # NUL, in older models of bytes
            return data + VERBATIM
        code = self._code(np.append(units, np.uint32(self.model.separator)))
        return code if code and len(code) <= len(data) else data + VERBATIM

    def _code(self, units: Units) -> bytes:
        encoder = self._stream("encode").encoder()
        encoder.put(units)
        return encoder.finish()

    def _decode(self, code: bytes) -> bytes:
        if not code:
            return b""
        decoder, units = self._stream("decode").decoder(code), list[int]()
        try:
            while (unit := int(decoder.get(1)[0])) != self.model.separator:
                units.append(unit)
                if len(units) % LOOK == 0:
                    self._look(units, code)
        except ValueError:
            raise UserError(DAMAGED) from None
        return self.model.decode(np.array(units, np.uint32))

    def _look(self, units: list[int], code: bytes) -> None:
        """UserError where units are more than the code holds: one that is damaged might never come to an end.

        Only at powers of two, so that all looks together take as long as the last.
        """
        self._check_size(len(units))
        if (len(units) & len(units) - 1) == 0 and len(self._code(np.array(units, np.uint32))) > len(code) + SPARE:
            raise UserError(DAMAGED)

    def _check_size(self, size: int) -> None:
        if size > self.most_bytes:
            raise UserError(f"a message of {size:,} bytes or more; {self.most_bytes:,} are allowed")

    def _mark(self, data: bytes) -> bytes:
        """The check: the first byte of the SHA-256 of the codec's identity and the message, or nothing."""
        return hashlib.sha256(self._identity + data).digest()[: self.check]

    def _stream(self, use: str) -> UnitStream:
        """A stream at the start of a message: one for each thread and use, since opening them takes milliseconds."""
        streams: dict[str, UnitStream] = self._local.__dict__
        if use not in streams:
            streams[use] = self.model.units()
        streams[use].state = self._start
        return streams[use]


def read_messages(model: Model, messages: Iterable[bytes]) -> None:
    """Lets the model's `state` read messages and the separator after each. A separator within one is left out."""
    stream = model.units()
    for message in messages:
        units = model.encode(message)
        stream.advance(np.append(units[units != model.separator], np.uint32(model.separator)))
    model.state = stream.state


def _opened(path: Path, arithmetic: str) -> Model:
    try:
        return Model(path, arithmetic=arithmetic)
    except UserError as error:
        if "has no arithmetic" not in str(error):
            raise
        raise UserError(f"{error}; agree with the other side on arithmetic 'plain', which every engine has") from None
