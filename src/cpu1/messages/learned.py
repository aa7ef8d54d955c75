"""An adapter of one's own messages: the model reads them, and what it learned is kept in a file. No torch."""

from collections.abc import Sequence
from pathlib import Path

from cpu1.errors import UserError
from cpu1.messages.codec import ARITHMETIC, read_messages
from cpu1.runtime import adapter
from cpu1.runtime.model import Model


def learn(messages: Sequence[bytes], model: Path, out: Path) -> int:
    """Writes an adapter of `model` that has read the messages, atomically; returns the size of the file.

    UserError for a model of tokens, and where the file cannot be written.
    """
    reader = Model(model, arithmetic=ARITHMETIC, learn=True)
    read_messages(reader, messages)
    return adapter.write(reader, out)


def mean_bytes(codes: Sequence[bytes]) -> float:
    """Bytes of a code, or of a message. UserError where there are none."""
    if not codes:
        raise UserError("no messages")
    return sum(map(len, codes)) / len(codes)
