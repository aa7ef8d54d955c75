"""What a stream has read, remembered and learned, as a file: an adapter for one model.

    model = cpu1.load(learn=True)
    model.prime(Path("my-notes.txt").read_text())
    write(model, "mine.cpa")

    read(cpu1.load(learn=True), "mine.cpa")  # its texts start from there

The file holds a session's state, deflated. It is checked before use: whole, of this model, no larger than such a state
is; and the session refuses a state that no text leads to.
"""

import struct
import zlib
from pathlib import Path

from cpu1.errors import UserError
from cpu1.files import write_atomic
from cpu1.runtime.archive import CHECK_BYTES, check, fingerprint_of
from cpu1.runtime.model import Model

MAGIC, VERSION = b"cpu1a", 1
HEAD = struct.Struct("<5sBB8sI")  # magic, version, which engine, fingerprint of the model, bytes of the state
FORMS = ("numpy", "native")  # by their number in the file
MOST_BYTES = 1 << 28  # of a file and of a state


def write(model: Model, path: str | Path) -> int:
    """Writes the model's `state`, atomically; returns the size of the file. UserError where it cannot be written."""
    state = model.state
    head = HEAD.pack(MAGIC, VERSION, _form(model), fingerprint_of(model.path), len(state))
    body = head + zlib.compress(state, 9)
    try:
        write_atomic(path, body + check(body))
    except OSError as error:
        raise UserError(f"{path}: not writable ({error.strerror})") from None
    return len(body) + CHECK_BYTES


def read(model: Model, path: str | Path) -> None:
    """Sets the model's `state` to that of an adapter. UserError for any other file, and for another model's."""
    try:
        state = _state(model, Path(path))
    except ValueError as error:
        raise UserError(f"{path}: {error}") from None
    try:
        model.state = state
    except UserError as error:
        raise UserError(f"{path}: {error}") from None


def _state(model: Model, path: Path) -> bytes:
    try:
        if path.stat().st_size > MOST_BYTES:
            raise ValueError(f"{path.stat().st_size:,} bytes are too many for an adapter")
        data = path.read_bytes()
    except OSError as error:
        raise UserError(f"{path}: not readable ({error.strerror})") from None
    if data[: len(MAGIC)] != MAGIC:
        raise ValueError("not an adapter of cpu1 learn")
    body = data[:-CHECK_BYTES]
    if len(body) < HEAD.size or data[-CHECK_BYTES:] != check(body):
        raise ValueError("the adapter is damaged: changed, cut short, or followed by something else")
    _, version, form, fingerprint, size = HEAD.unpack_from(body)
    if version != VERSION:
        raise ValueError(f"an adapter of version {version}; this cpu1 reads version {VERSION}")
    if fingerprint != (given := fingerprint_of(model.path)):
        raise ValueError(f"made with another model: {fingerprint.hex()}, and {model.path} is {given.hex()}")
    if form >= len(FORMS) or size > MOST_BYTES:
        raise ValueError("the adapter is not valid: its head has a value out of range")
    if form != _form(model):
        raise ValueError(f"made by the {FORMS[form]} engine; this is the {FORMS[_form(model)]} one")
    inflater = zlib.decompressobj()
    try:
        state = inflater.decompress(body[HEAD.size :], size)
    except zlib.error:
        raise ValueError("the adapter is not valid: its state cannot be inflated") from None
    if len(state) != size or not inflater.eof or inflater.unused_data:
        raise ValueError("the adapter is not valid: its state has another size than its head says")
    return state


def _form(model: Model) -> int:
    return FORMS.index("numpy" if model.arithmetic == "numpy" else "native")
