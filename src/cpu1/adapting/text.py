"""The text that a model is adapted to, in two parts: what it may read, and a tenth that is held out to measure it."""

import hashlib
import os
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from cpu1.data.sources import STDIN, documents, files
from cpu1.errors import UserError
from cpu1.files import apart

SHARE = 10  # one byte in so many is held out
LEAST = 8 << 10  # bytes of text; less says nothing of the held-out tenth
LEAST_TRAINED = 32 << 10  # bytes of text to train on
MOST = 256 << 20  # bytes of text, which is kept in memory
NULS = 1000  # a text has at most one NUL byte in so many; of compressed data one byte in 256 is NUL
ALIKE = 4  # whole documents are held out where none is longer than the held-out part by this factor
FEWEST = 20  # documents of which some are held out whole


@dataclass(frozen=True)
class Parts:
    """Documents to learn from, and pieces of text that are held out."""

    known: tuple[bytes, ...]
    held_out: tuple[bytes, ...]
    whole: bool  # whether whole documents are held out, not the ends of some

    @property
    def known_bytes(self) -> int:
        """How much there is to learn from."""
        return sum(map(len, self.known))

    @property
    def held_out_bytes(self) -> int:
        """How much is held out."""
        return sum(map(len, self.held_out))

    @property
    def identity(self) -> str:
        """A hash of all text and of how it is divided."""
        total = hashlib.sha256()
        for part in (self.known, self.held_out):
            for text in part:
                total.update(len(text).to_bytes(8, "little") + hashlib.sha256(text).digest())
            total.update(b"/")
        return total.hexdigest()


def read_text(sources: Sequence[str], field: str, least: int) -> list[bytes]:
    """The documents of all sources (`data.sources.documents`), in order.

    UserError for what cannot be read, for what is no text, and for less than `least` or more than MOST bytes.
    """
    if sources.count(STDIN) > 1:
        raise UserError("standard input can be read only once")
    found: list[bytes] = []
    size = 0
    for source in sources:
        for text in documents(source, field):
            if text.count(0) > len(text) // NULS:
                raise UserError(f"{source}: has many NUL bytes, so it is no plain text; save it as text in UTF-8 first")
            found.append(text)
            size += len(text)
            if size > MOST:
                raise UserError(
                    f"{source}: more than {MOST >> 20} MiB of text; `cpu1 train --from default` takes any amount"
                )
    if size < least:
        raise UserError(f"{', '.join(sources)}: {size:,} bytes of text are too few; at least {least:,} are needed")
    return found


def keep_text(out: Path, written: Sequence[Path], sources: Sequence[str]) -> None:
    """UserError where something `written` for `out` is one of the sources, or lies in a folder that is read."""
    places = [path.resolve() for path in written]
    for source in sources:
        if source == STDIN:
            for path in written:
                apart(path, [0])
            continue
        read = files(source)
        for path in written:
            apart(path, read)
        folder = Path(os.path.expanduser(source))
        own = [folder.resolve()] if folder.is_dir() else []
        inside = any(top in place.parents for top in own for place in places)
        if inside or any(place in path.resolve().parents for path in read for place in places):
            raise UserError(f"{out}: lies in {source}, which is read as text; name a place outside of it with -o")


def divide(texts: Sequence[bytes]) -> Parts:
    """Holds out a tenth of the bytes: whole documents where there are many, else the end of each long one."""
    sizes: Counter[bytes] = Counter()  # of documents with all their copies, by their hash
    for text in texts:
        sizes[hashlib.sha256(text).digest()] += len(text)
    room = sizes.total() // SHARE
    if len(sizes) >= FEWEST and max(sizes.values()) * ALIKE <= room:
        return _whole(texts, sizes, room)
    known, held_out = [], []
    for text in texts:
        end = _line_end(text, len(text) - len(text) // SHARE)
        known.append(text[:end])
        held_out.append(text[end:])
    return Parts(tuple(filter(None, known)), tuple(filter(None, held_out)), whole=False)


def _whole(texts: Sequence[bytes], sizes: Mapping[bytes, int], room: int) -> Parts:
    """The choice depends on the documents' content alone; a copy of a held-out document is held out too."""
    chosen: set[bytes] = set()
    for key in sorted(sizes):
        if room <= 0:
            break
        chosen.add(key)
        room -= sizes[key]
    held = [hashlib.sha256(text).digest() in chosen for text in texts]
    known = tuple(text for text, out in zip(texts, held, strict=True) if not out)
    return Parts(known, tuple(text for text, out in zip(texts, held, strict=True) if out), whole=True)


def _line_end(text: bytes, place: int) -> int:
    """The end of the line before `place`, if its beginning is near."""
    near = text.rfind(b"\n", place - len(text) // 100, place) + 1
    return near or place
