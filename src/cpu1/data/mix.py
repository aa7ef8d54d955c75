"""A text mixed from several others in stated shares, the same bytes on every machine.

Documents are cut into pieces, so that a small mixture still draws on all of a text: half a megabyte of books is
eight pieces of eight books, not the first half of one. The choice of pieces depends only on their content and a seed,
not on the names or the order of files.
"""

import hashlib
import warnings
from array import array
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from cpu1.data.formats import DECODERS, RECORDS, cut
from cpu1.data.sources import STDIN, documents, files
from cpu1.data.spacing import spaced
from cpu1.data.wrapping import wrapped
from cpu1.errors import UserError
from cpu1.files import apart, atomic

PIECE = 64 << 10  # bytes, at most, where nothing else is asked for
LEAST_PIECE = 1 << 10
BREAK = b"\f\n"  # the line that separates two documents
CHANGES = {"spaced": spaced, "wrapped": wrapped}  # what a prefix makes of a document
OFF = 0.1  # of a share: a part that misses it by more is worth a note


@dataclass(frozen=True)
class Part:
    """A text and its share of the mixture, in any unit: 60 and 40 are the same as 3 and 2.

    `source` is one of `sources.documents`. With the prefix `spaced:` its documents get the spacing of WikiText, with
    `wrapped:` lines of up to 79 characters.
    """

    source: str
    share: float

    @property
    def text(self) -> str:
        """The source without its prefix."""
        prefix, colon, text = self.source.partition(":")
        return text if colon and prefix in CHANGES else self.source


@dataclass(frozen=True)
class Contribution:
    """How much of a text is in a mixture."""

    source: str
    pieces: int
    bytes: int  # of the pieces, without the lines between them


@dataclass(frozen=True)
class Mixture:
    """A mixture that was written."""

    parts: tuple[Contribution, ...]
    bytes: int  # of the plain text, with the lines that separate its pieces
    sha256: str  # of the plain text


def mix(
    parts: Sequence[Part],
    size: int,
    out: Path,
    field: str = "text",
    seed: int = 0,
    progress: Callable[[int], None] = lambda _: None,
    piece: int = PIECE,
) -> Mixture:
    """Writes about `size` bytes of text from `parts` in their shares to `out`, compressed if its name ends in `.zst`.

    Documents longer than `piece` bytes are cut, others stay whole.
    Each text is read twice, in bounded memory, and no piece is taken twice. `progress` is called with the size of each
    piece read. Raises UserError for shares that are not positive, for a text that has less than its share, and for an
    `out` that is one of the texts.
    """
    if not parts or not all(0 < part.share < float("inf") for part in parts):
        raise UserError("a mixture needs texts with positive shares, like books/=60 reference.txt=40")
    if any(part.text == STDIN for part in parts):
        raise UserError("a mixture reads its texts twice, which standard input does not allow: save it to a file first")
    suffix = out.suffix.lower()
    if suffix in {*DECODERS, *RECORDS} - {".zst"}:
        raise UserError(
            f"{out}: a mixture is plain text, or compressed as .zst; give its name another end than {suffix}"
        )
    if piece < LEAST_PIECE:
        raise UserError(f"pieces of {piece:,} bytes are too short; give at least {LEAST_PIECE:,}")
    for part in parts:
        apart(out, files(part.text))
    total = sum(part.share for part in parts)
    plain = hashlib.sha256()
    written, contributions = 0, []
    with atomic(out) as file, _compressed(file, out) as write:
        for part in parts:
            chosen = _choose(part, field, piece, seed, size * part.share / total, progress)
            taken = 0
            for found, take in zip(_pieces(part, field, piece), chosen, strict=True):
                if take:
                    text = found if found.endswith(b"\n") else found + b"\n"
                    text = BREAK + text if written else text
                    plain.update(text)
                    write(text)
                    written += len(text)
                    taken += len(found)
            contributions.append(Contribution(part.source, int(chosen.sum()), taken))
    _note_shares(parts, contributions, size)
    return Mixture(tuple(contributions), written, plain.hexdigest())


def _note_shares(parts: Sequence[Part], contributions: Sequence[Contribution], size: int) -> None:
    """Warns of a share that whole pieces do not come to."""
    total = sum(part.share for part in parts)
    for part, found in zip(parts, contributions, strict=True):
        wanted = size * part.share / total
        if abs(found.bytes - wanted) > OFF * wanted:
            warnings.warn(
                f"{part.source}: gives {found.bytes:,} bytes where its share is {wanted:,.0f}, as pieces stay whole; "
                "take a smaller --piece or a larger --bytes",
                stacklevel=3,
            )


def _pieces(part: Part, field: str, longest: int) -> Iterator[bytes]:
    change = CHANGES[part.source.partition(":")[0]] if part.text != part.source else None
    for document in documents(part.text, field):
        yield from cut(change(document) if change else document, longest)


def _choose(
    part: Part, field: str, longest: int, seed: int, wanted: float, progress: Callable[[int], None]
) -> NDArray[np.bool_]:
    """Which pieces to take: those with the lowest hashes, up to nearly `wanted` bytes; equal pieces once."""
    keys, sizes = array("Q"), array("q")
    for piece in _pieces(part, field, longest):
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
            f"{part.source}: holds {have:,} bytes of different text, its share is {wanted:,.0f}; "
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
