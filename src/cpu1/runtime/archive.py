"""A text compressed by a packed model, in a file that names what is needed to decompress it.

    archive = compress(text, Model("model.cpu1"))
    text = decompress(archive, "model.cpu1")

Lossless for any bytes. A model of bytes learns from the text while it codes it. Each block is coded separately, from
the start of a document; by default a text is one block, so that the model remembers and learns to its end.
docs/compression.md describes the format, and what an archive depends on.
"""

import hashlib
import struct
import threading
import zlib
from collections.abc import Callable, Sequence
from concurrent.futures import CancelledError, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple, TypeVar

from cpu1.errors import UserError
from cpu1.files import digest
from cpu1.lookups.contexts import LEAST_COUNTS, MOST_COUNTS
from cpu1.runtime.model import Model

MAGIC, VERSION = b"cpu1z", 2
# magic, version, arithmetic, fingerprint of the model, bytes a block, bytes in all; since version 2: whether it learns
HEADS = {1: struct.Struct("<5sBB8sIQ"), 2: struct.Struct("<5sBB8sIQB")}
BLOCK = struct.Struct("<III")  # units, bytes of code, CRC-32 of the text
CHECK_BYTES = FINGERPRINT_BYTES = 8
ARITHMETICS = ("numpy", "plain", "fma")  # by their number in the file

SHORT_BLOCK_BYTES = 1 << 13  # where attention sees the whole block: time and memory grow with it
MOST_BLOCK_BYTES = 1 << 30
PIECE = 2048  # units between two checks whether to stop

ByteProgress = Callable[[int, int], None]  # called with the bytes of text done and their total, from any thread
T = TypeVar("T")
R = TypeVar("R")


class CodedBlock(NamedTuple):
    """Consecutive bytes of the text. With 0 `units` the code is the text itself, which the model would not shorten."""

    units: int
    crc: int  # CRC-32 of the text
    code: bytes


@dataclass(frozen=True)
class Archive:
    """The parts of an archive."""

    arithmetic: str  # one of ARITHMETICS
    fingerprint: bytes  # of the model, see `fingerprint_of`
    block: int  # bytes of text in each block but the last
    size: int  # bytes of text in all
    blocks: list[CodedBlock]
    learns: bool = False  # whether the model learned from the text
    version: int = VERSION

    def write(self) -> bytes:
        """The bytes of the archive."""
        arithmetic = ARITHMETICS.index(self.arithmetic)
        fields = [MAGIC, self.version, arithmetic, self.fingerprint, self.block, self.size, self.learns]
        head = HEADS[self.version].pack(*fields[: len(fields) - (self.version == 1)])
        parts = [BLOCK.pack(block.units, len(block.code), block.crc) + block.code for block in self.blocks]
        data = head + b"".join(parts)
        return data + check(data)

    @classmethod
    def read(cls, data: bytes) -> "Archive":
        """The archive in `data`. Raises UserError for one that is damaged or of another version, and for other data."""
        if data[: len(MAGIC)] != MAGIC:
            raise UserError("not an archive of cpu1 compress")
        version = data[len(MAGIC)] if len(data) > len(MAGIC) else VERSION
        if version not in HEADS:
            raise UserError(f"an archive of version {version}; this cpu1 reads versions 1 to {VERSION}")
        body, layout = data[:-CHECK_BYTES], HEADS[version]
        if len(body) < layout.size or data[-CHECK_BYTES:] != check(body):
            raise UserError("the archive is damaged: changed, cut short, or followed by something else")
        _, _, arithmetic, fingerprint, block, size, *rest = layout.unpack_from(body)
        learns = rest[0] if rest else 0
        if arithmetic >= len(ARITHMETICS) or not 1 <= block <= MOST_BLOCK_BYTES or learns > 1:
            raise UserError("the archive is not valid: its head has a value out of range")
        blocks, at = [], layout.size
        while at + BLOCK.size <= len(body):
            units, length, crc = BLOCK.unpack_from(body, at)
            at += BLOCK.size + length
            blocks.append(CodedBlock(units, crc, body[at - length : at]))
        archive = cls(ARITHMETICS[arithmetic], fingerprint, block, size, blocks, bool(learns), version)
        sizes = archive.sizes()
        if at != len(body) or len(blocks) != len(sizes) or any(map(mismatched, blocks, sizes)):
            raise UserError("the archive is not valid: its blocks do not make up its text")
        return archive

    def sizes(self) -> list[int]:
        """Bytes of text in each block. A damaged size gives at most one number more than there are blocks."""
        count = min(-(-self.size // self.block), len(self.blocks) + 1)
        return [min(self.block, self.size - i * self.block) for i in range(count)]


def counts_for(size: int) -> int:
    """How large a learner a block of `size` bytes gets: eight decisions a byte, but no more than 100 MB in all."""
    return min(max((8 * size).bit_length(), LEAST_COUNTS), MOST_COUNTS)


def mismatched(block: CodedBlock, size: int) -> bool:
    """Whether a block cannot hold `size` bytes of text."""
    return block.units > size or (block.units == 0 and len(block.code) != size)


def check(data: bytes) -> bytes:
    """The check at an archive's end: the first bytes of the SHA-256 of all before it."""
    return hashlib.sha256(data).digest()[:CHECK_BYTES]


def fingerprint_of(path: Path) -> bytes:
    """The bytes by which an archive recognises its model's file: the first of its SHA-256. UserError if unreadable."""
    return digest(path)[:FINGERPRINT_BYTES]


def block_bytes(model: Model) -> int:
    """The default size of a model's blocks."""
    whole = any(op["op"] == "attend" and not op["segment"] for op in model.about["program"]["trunk"])
    return SHORT_BLOCK_BYTES if whole else MOST_BLOCK_BYTES


def compress(
    text: bytes,
    model: Model,
    block: int | None = None,
    threads: int = 1,
    progress: ByteProgress | None = None,
    learn: bool | None = None,
) -> bytes:
    """The archive of a text in blocks of `block` bytes (default: the model's), of which `threads` are coded at once.

    `learn`: whether the model learns from each block; by default a model of bytes does. Raises UserError where the
    model's scores are not finite, `block` is out of range, or a model of tokens shall learn.
    """
    block, learns = block or block_bytes(model), model.tokens is None if learn is None else learn
    if not 1 <= block <= MOST_BLOCK_BYTES:
        raise UserError(f"blocks of {block} bytes; they may have 1 to {MOST_BLOCK_BYTES}")
    texts = [text[i : i + block] for i in range(0, len(text), block)]
    try:
        work = SharedWork(len(text), progress)
        blocks = work.map(lambda part, work: _encode(part, model, learns, work), texts, threads)
    except ValueError as error:
        raise UserError(f"{model.path}: {error}") from None
    return Archive(model.arithmetic, fingerprint_of(model.path), block, len(text), blocks, learns).write()


def decompress(data: bytes, path: str | Path, threads: int = 1, progress: ByteProgress | None = None) -> bytes:
    """The text of an archive, decompressed with the model at `path`.

    Raises UserError for a damaged archive, for another model than the one it was made with, and where this machine does
    not compute exactly the numbers it was made with. Never returns another text.
    """
    archive, path = Archive.read(data), Path(path)
    model = Model(path, arithmetic=archive.arithmetic)
    if archive.fingerprint != (fingerprint := fingerprint_of(path)):
        made_with, given = archive.fingerprint.hex(), fingerprint.hex()
        raise UserError(f"the archive was made with another model: {made_with}, and {path} is {given}")
    pairs = list(zip(archive.blocks, archive.sizes(), strict=True))
    work = SharedWork(archive.size, progress)
    return b"".join(work.map(lambda pair, work: _decode(*pair, model, archive.learns, work), pairs, threads))


def _encode(text: bytes, model: Model, learns: bool, work: "SharedWork") -> CodedBlock:
    units, crc = model.encode(text), zlib.crc32(text)
    encoder = model.units(learns, counts_for(len(text))).encoder()
    for i in range(0, len(units), PIECE):
        piece = units[i : i + PIECE]
        encoder.put(piece)
        work.advance(len(model.decode(piece)))
    code = encoder.finish()
    return CodedBlock(len(units), crc, code) if len(code) < len(text) else CodedBlock(0, crc, text)


def _decode(block: CodedBlock, size: int, model: Model, learns: bool, work: "SharedWork") -> bytes:
    text = bytearray(b"" if block.units else block.code)
    decoder = model.units(learns, counts_for(size)).decoder(block.code)
    for i in range(0, block.units, PIECE):
        try:
            text += (piece := model.decode(decoder.get(min(PIECE, block.units - i))))
        except ValueError:  # impossible for a stream that computes the encoder's numbers
            break
        work.advance(len(piece))
    if len(text) != size or zlib.crc32(text) != block.crc:
        raise UserError(
            f"the archive is whole, but decodes to another text: the arithmetic {model.arithmetic!r} of this machine "
            "or version of cpu1 is not the one that it was made with"
        )
    return bytes(text)


class SharedWork:
    """Work shared by threads, which all stop soon after one of them fails, or after Ctrl-C."""

    def __init__(self, size: int, progress: ByteProgress | None) -> None:
        self._size, self._done, self._progress = size, 0, progress
        self._lock, self._stop = threading.Lock(), threading.Event()
        self._failure: BaseException | None = None  # the first one, which stopped the others

    def map(self, do: Callable[[T, "SharedWork"], R], items: Sequence[T], threads: int) -> list[R]:
        """The results of do(item, self) for all items, in order. Raises the first exception of `do`."""
        with ThreadPoolExecutor(threads) as pool:
            try:
                futures = [pool.submit(self._do, do, item) for item in items]
                return [future.result() for future in futures]
            except BaseException as error:
                self._stop.set()
                pool.shutdown(wait=False, cancel_futures=True)
                raise self._failure or error from None

    def _do(self, do: Callable[[T, "SharedWork"], R], item: T) -> R:
        try:
            return do(item, self)
        except BaseException as error:
            with self._lock:
                if not self._stop.is_set():
                    self._failure = error
                self._stop.set()
            raise

    def advance(self, count: int) -> None:
        """Reports `count` more bytes as done, which `do` calls regularly. CancelledError once the work must stop."""
        if self._stop.is_set():
            raise CancelledError
        with self._lock:
            self._done += count
            if self._progress:
                self._progress(self._done, self._size)
