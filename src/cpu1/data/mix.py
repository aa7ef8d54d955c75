"""A text mixed from several others in stated shares, the same bytes on every machine.

Documents are cut into pieces, so that a small mixture still draws on all of a text: half a megabyte of books is
eight pieces of eight books, not the first half of one. Which pieces are taken is decided by their content and a
seed alone; so a mixture depends neither on the names nor on the order of files.
"""

import hashlib
from array import array
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from cpu1.data.formats import cut
from cpu1.data.sources import STDIN, documents
from cpu1.data.spacing import spaced
from cpu1.errors import UserError
from cpu1.files import atomic

PIECE = 64 << 10  # bytes, at most
BREAK = b"\f\n"  # the line that parts two documents
SPACED = "spaced:"


@dataclass(frozen=True)
class Part:
    """A text and its share of the mixture, in any unit: 60 and 40 are 3 and 2.

    The text is one of `sources.documents`, or `spaced:` and one, for its documents in the spacing of WikiText.
    """

    source: str
    share: float


@dataclass(frozen=True)
class Taken:
    """What a text gave."""

    source: str
    pieces: int
    bytes: int


@dataclass(frozen=True)
class Mixture:
    """What was written."""

    parts: tuple[Taken, ...]
    bytes: int  # of the plain text, with the lines that part its pieces
    sha256: str  # of the plain text


def mix(
    parts: Sequence[Part],
    size: int,
    out: Path,
    field: str = "text",
    seed: int = 0,
    progress: Callable[[int], None] = lambda _: None,
) -> Mixture:
    """Writes about `size` bytes of text from `parts` in their shares to `out`, compressed if its name ends in `.zst`.

    Each text is read twice, in bounded memory, and no piece is taken twice. `progress` is told the bytes read.
    Raises UserError for shares that are not positive and for a text that has less than its share.
    """
    if not parts or not all(0 < part.share < float("inf") for part in parts):
        raise UserError("a mixture needs texts with positive shares, like books/=60 reference.txt=40")
    if any(part.source.removeprefix(SPACED) == STDIN for part in parts):
        raise UserError("a mixture reads its texts twice, which standard input does not allow: save it to a file first")
    total = sum(part.share for part in parts)
    plain = hashlib.sha256()
    written, taken = 0, []
    with atomic(out) as file, _compressed(file, out) as write:
        for part in parts:
            wanted = size * part.share / total
            chosen = _choose(part.source, field, seed, wanted, progress)
            found = Taken(part.source, int(chosen.sum()), 0)
            for piece, take in zip(_pieces(part.source, field), chosen, strict=True):
                if take:
                    text = piece if piece.endswith(b"\n") else piece + b"\n"
                    text = BREAK + text if written else text
                    plain.update(text)
                    write(text)
                    written += len(text)
                    found = Taken(found.source, found.pieces, found.bytes + len(piece))
            taken.append(found)
    return Mixture(tuple(taken), written, plain.hexdigest())


def _pieces(source: str, field: str) -> Iterator[bytes]:
    for document in documents(source.removeprefix(SPACED), field):
        yield from cut(spaced(document) if source.startswith(SPACED) else document, PIECE)


def _choose(source: str, field: str, seed: int, wanted: float, progress: Callable[[int], None]) -> NDArray[np.bool_]:
    """Which pieces to take: those of the lowest hash, as many as are nearest to `wanted` bytes; equal ones once."""
    keys, sizes = array("Q"), array("q")
    for piece in _pieces(source, field):
        keys.append(
            int.from_bytes(hashlib.blake2b(piece, digest_size=8, salt=seed.to_bytes(16, "big")).digest(), "big")
        )
        sizes.append(len(piece))
        progress(len(piece))
    key, size = np.array(keys, np.uint64), np.array(sizes, np.int64)
    _, first = np.unique(key, return_index=True)  # in the order of the keys
    ends = np.cumsum(size[first])
    if not len(first) or ends[-1] < wanted:
        have = int(ends[-1]) if len(first) else 0
        raise UserError(
            f"{source}: holds {have:,} bytes of different text, its share is {wanted:,.0f}; "
            "lower --bytes or its share, or add text"
        )
    chosen = np.zeros(len(key), np.bool_)
    chosen[first[: int(np.argmin(np.abs(ends - wanted))) + 1]] = True
    return chosen


@contextmanager
def _compressed(file: IO[bytes], out: Path) -> Iterator[Callable[[bytes], Any]]:
    if out.suffix.lower() != ".zst":
        yield file.write
        return
    import zstandard

    with zstandard.ZstdCompressor(level=10).stream_writer(file, closefd=False) as writer:
        yield writer.write
