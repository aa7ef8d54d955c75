"""A text as the code that a packed model makes of it, in a file that says what is needed to get it back.

    archive = compress(text, PackedModel("model.cpu1"))
    text = decompress(archive, "model.cpu1")

Lossless for any bytes. Blocks are coded by themselves, each from the start of a document, so that several threads can
share a text. docs/compression.md has the format, and what an archive depends on.
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
from cpu1.runtime.packed import PackedModel

MAGIC, VERSION = b"cpu1z", 1
HEAD = struct.Struct("<5sBB8sIQ")  # magic, version, arithmetic, mark of the model, bytes a block, bytes in all
BLOCK = struct.Struct("<III")  # units, bytes of code, CRC-32 of the text
CHECK_BYTES = MARK_BYTES = 8
ARITHMETICS = ("numpy", "plain", "fma")  # by their number in the file

BLOCK_BYTES = 1 << 17  # 14 bytes and a cold start each: 0.05% of a text at 2 bits per byte
SHORT_BLOCK_BYTES = 1 << 13  # where attention looks at all of a block: time and memory grow with it
MOST_BLOCK_BYTES = 1 << 30
PIECE = 2048  # units between two looks at whether to stop

Progress = Callable[[int, int], None]  # told bytes of text done, and all there are, by several threads in turn
Item = TypeVar("Item")
Result = TypeVar("Result")


class Block(NamedTuple):
    """Consecutive bytes of the text. `units` 0: the code is the text itself, which the model would have made longer."""

    units: int
    crc: int
    code: bytes


@dataclass(frozen=True)
class Archive:
    """What an archive says, taken apart."""

    arithmetic: str
    mark: bytes
    block: int  # bytes of text in each block but the last
    size: int  # bytes of text in all
    blocks: list[Block]

    def write(self) -> bytes:
        head = HEAD.pack(MAGIC, VERSION, ARITHMETICS.index(self.arithmetic), self.mark, self.block, self.size)
        parts = [BLOCK.pack(block.units, len(block.code), block.crc) + block.code for block in self.blocks]
        data = head + b"".join(parts)
        return data + check(data)

    @classmethod
    def read(cls, data: bytes) -> "Archive":
        """Raises UserError for what is no archive, or not whole, or not as it was written."""
        if data[: len(MAGIC)] != MAGIC:
            raise UserError("not an archive of cpu1 compress")
        if data[len(MAGIC) : len(MAGIC) + 1] not in (b"", bytes([VERSION])):
            raise UserError(f"an archive of version {data[len(MAGIC)]}; this cpu1 reads version {VERSION}")
        body = data[:-CHECK_BYTES]
        if len(body) < HEAD.size or data[-CHECK_BYTES:] != check(body):
            raise UserError("the archive is damaged: changed, cut short, or followed by something else")
        _, _, arithmetic, mark, block, size = HEAD.unpack_from(body)
        if arithmetic >= len(ARITHMETICS) or not 1 <= block <= MOST_BLOCK_BYTES:
            raise UserError("the archive is not valid: its head has a value out of range")
        blocks, at = [], HEAD.size
        while at + BLOCK.size <= len(body):
            units, length, crc = BLOCK.unpack_from(body, at)
            at += BLOCK.size + length
            blocks.append(Block(units, crc, body[at - length : at]))
        archive = cls(ARITHMETICS[arithmetic], mark, block, size, blocks)
        sizes = archive.sizes()
        if at != len(body) or len(blocks) != len(sizes) or any(map(misfit, blocks, sizes)):
            raise UserError("the archive is not valid: its blocks do not make up its text")
        return archive

    def sizes(self) -> list[int]:
        """Bytes of text in each block; no more numbers than there are blocks, and one."""
        count = min(-(-self.size // self.block), len(self.blocks) + 1)
        return [min(self.block, self.size - i * self.block) for i in range(count)]


def misfit(block: Block, size: int) -> bool:
    """Whether a block cannot hold so many bytes of text."""
    return block.units > size or (block.units == 0 and len(block.code) != size)


def check(data: bytes) -> bytes:
    return hashlib.sha256(data).digest()[:CHECK_BYTES]


def mark_of(path: Path) -> bytes:
    """What tells one packed file from another: the first bytes of its SHA-256."""
    return digest(path)[:MARK_BYTES]


def block_bytes(model: PackedModel) -> int:
    """How long blocks are unless one asks for others."""
    whole = any(op["op"] == "attend" and not op["segment"] for op in model.about["program"]["trunk"])
    return SHORT_BLOCK_BYTES if whole else BLOCK_BYTES


def compress(
    text: bytes, model: PackedModel, block: int | None = None, threads: int = 1, progress: Progress | None = None
) -> bytes:
    """The archive of a text, in blocks of so many bytes, of which `threads` are coded at once.

    Raises UserError where the model's scores are not finite, or `block` is out of range.
    """
    block = block or block_bytes(model)
    if not 1 <= block <= MOST_BLOCK_BYTES:
        raise UserError(f"blocks of {block} bytes; they may have 1 to {MOST_BLOCK_BYTES}")
    texts = [text[i : i + block] for i in range(0, len(text), block)]
    try:
        blocks = Work(len(text), progress).map(lambda part, work: _encode(part, model, work), texts, threads)
    except ValueError as error:
        raise UserError(f"{model.path}: {error}") from None
    return Archive(model.arithmetic, mark_of(model.path), block, len(text), blocks).write()


def decompress(data: bytes, path: str | Path, threads: int = 1, progress: Progress | None = None) -> bytes:
    """The text of an archive, by the model at `path`.

    Raises UserError for what is not a whole archive, for another model than it was made with, and where this machine
    does not compute the very numbers that it was made with; never returns another text.
    """
    archive, path = Archive.read(data), Path(path)
    model = PackedModel(path, arithmetic=archive.arithmetic)
    if archive.mark != (mark := mark_of(path)):
        raise UserError(f"the archive was made with another model: {archive.mark.hex()}, and {path} is {mark.hex()}")
    pairs = list(zip(archive.blocks, archive.sizes(), strict=True))
    work = Work(archive.size, progress)
    return b"".join(work.map(lambda pair, work: _decode(*pair, model, work), pairs, threads))


def _encode(text: bytes, model: PackedModel, work: "Work") -> Block:
    units, crc = model.encode(text), zlib.crc32(text)
    encoder = model.session().encoder()
    for i in range(0, len(units), PIECE):
        piece = units[i : i + PIECE]
        encoder.put(piece)
        work.did(len(model.decode(piece)))
    code = encoder.finish()
    return Block(len(units), crc, code) if len(code) < len(text) else Block(0, crc, text)


def _decode(block: Block, size: int, model: PackedModel, work: "Work") -> bytes:
    text = bytearray(b"" if block.units else block.code)
    decoder = model.session().decoder(block.code)
    for i in range(0, block.units, PIECE):
        try:
            text += (piece := model.decode(decoder.get(min(PIECE, block.units - i))))
        except ValueError:  # no stream that computes as the encoder's did would find itself here
            break
        work.did(len(piece))
    if len(text) != size or zlib.crc32(text) != block.crc:
        raise UserError(
            f"the archive is whole, but decodes to another text: the arithmetic {model.arithmetic!r} of this machine "
            "or version of cpu1 is not the one that it was made with"
        )
    return bytes(text)


class Work:
    """Work shared by threads, which all stop soon after one of them fails, or Ctrl-C."""

    def __init__(self, size: int, progress: Progress | None) -> None:
        self._size, self._done, self._progress = size, 0, progress
        self._lock, self._stop = threading.Lock(), threading.Event()
        self._failure: BaseException | None = None  # the first one, which stopped the others

    def map(self, do: Callable[[Item, "Work"], Result], items: Sequence[Item], threads: int) -> list[Result]:
        """do(item, self) for each, in order."""
        with ThreadPoolExecutor(threads) as pool:
            try:
                futures = [pool.submit(self._do, do, item) for item in items]
                return [future.result() for future in futures]
            except BaseException as error:
                self._stop.set()
                pool.shutdown(wait=False, cancel_futures=True)
                raise self._failure or error from None

    def _do(self, do: Callable[[Item, "Work"], Result], item: Item) -> Result:
        try:
            return do(item, self)
        except BaseException as error:
            with self._lock:
                if not self._stop.is_set():
                    self._failure = error
                self._stop.set()
            raise

    def did(self, count: int) -> None:
        """So many bytes more. To be called every now and then by what does the work."""
        if self._stop.is_set():
            raise CancelledError
        with self._lock:
            self._done += count
            if self._progress:
                self._progress(self._done, self._size)
