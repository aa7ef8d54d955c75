"""A corpus: documents of raw bytes in three splits, read once, cached on disk and memory-mapped.

`partition` decides which split a document falls in.
"""

import hashlib
import os
import re
import shutil
import sys
import tempfile
from array import array
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal

import numpy as np
from numpy.typing import NDArray

from cpu1.data.cache import cached, default_cache, writing
from cpu1.data.formats import CHUNK
from cpu1.data.partition import content_key, partition
from cpu1.data.sources import STDIN, documents, find_source
from cpu1.data.split import SPLITS, Counts, Split, open_splits, write_split
from cpu1.errors import UserError
from cpu1.files import write_json
from cpu1.format.tokens import SEPARATOR
from cpu1.records import Count, read, to_json

FORMAT: Final = 1
AGAIN = "prepare the text again"
LEAST_BYTES = 4096


@dataclass(frozen=True)
class About:
    """corpus.json."""

    format: Literal[1]
    name: str
    source: str
    sha256: str
    cut: Count
    splits: dict[str, Counts]
    byte_counts: tuple[Count, ...]


@dataclass(frozen=True, eq=False)
class Corpus:
    """Three splits of a text, and where the text came from."""

    name: str
    source: str
    sha256: str  # of all documents in order: length (8 bytes, little-endian) and SHA-256 of each
    cut: int  # about how many bytes a piece has where documents were cut for splitting, else 0
    byte_counts: NDArray[np.int64]  # [256], of the training split
    splits: dict[str, Split]
    folder: Path

    @classmethod
    def open(cls, folder: str | Path) -> "Corpus":
        """Opens what `prepare` wrote. UserError when it is missing, of another version or damaged."""
        folder = Path(folder)
        about = read(About, folder / "corpus.json", AGAIN)
        splits = open_splits(folder, about.splits, np.uint8)
        if len(about.byte_counts) != 256 or sum(about.byte_counts) != splits["train"].size:
            raise UserError(f"{folder / 'corpus.json'}: its byte_counts are not those of the text; {AGAIN}")
        counts = np.array(about.byte_counts, np.int64)
        return cls(about.name, about.source, about.sha256, about.cut, counts, splits, folder)

    def select(self, split: str, max_bytes: int, max_excerpt_bytes: int) -> list[NDArray[np.uint8]]:
        """A sample of a split: excerpts of documents, of `max_bytes` in all at most.

        Each document gives its first excerpt. Where that does not fill `max_bytes`, long documents give more excerpts,
        evenly spaced. Documents come in the order of their SHA-256, so the sample depends only on their contents.
        """
        whole = sorted(self.splits[split], key=lambda document: hashlib.sha256(document.data).digest())
        pieces = [-(-len(document) // max_excerpt_bytes) for document in whole]
        rounds = 1
        while rounds < max(pieces, default=0) and max_excerpt_bytes * sum(min(p, rounds) for p in pieces) < max_bytes:
            rounds += 1
        sample: list[NDArray[np.uint8]] = []
        for number in range(rounds):
            for document, count in zip(whole, pieces, strict=True):
                if number < count and max_bytes > 0:
                    begin = number * count // min(rounds, count) * max_excerpt_bytes
                    sample.append(document[begin : begin + min(max_excerpt_bytes, max_bytes)])
                    max_bytes -= len(sample[-1])
        return sample


def prepare(
    source: str, *, field: str = "text", cache: str | Path | None = None, progress: Callable[[int], None] | None = None
) -> Corpus:
    """Reads the documents of `source` (see `sources.documents`) once, splits and caches them.

    A second call finds the folder by the source's paths, sizes and modification times, and reads nothing. A damaged
    folder is rebuilt. `progress` is called with the number of bytes read, every mebibyte.

    Raises UserError when the source cannot be read or holds too little text for three splits.
    """
    root = Path(default_cache() if cache is None else cache)
    if source == STDIN:
        with _spooled_stdin(root) as (spool, digest):
            return _prepare("stdin", "stdin", [STDIN, digest], documents(str(spool)), root, progress)
    found = find_source(source, field)
    return _prepare(source, found.title, found.identity(), found.documents(), root, progress)


def describe(corpus: Corpus) -> str:
    """Lines of text for people: the corpus's name and hash, and documents and bytes of each split."""
    lines = [f"{corpus.name}  sha256 {corpus.sha256}", f"  in {corpus.folder}"]
    unit = "pieces" if corpus.cut else "documents"
    for name, split in corpus.splits.items():
        lines.append(f"  {name:5} {len(split):>11,} {unit} {split.size:>15,} bytes")
    if corpus.cut:
        lines.append(
            f"  Its documents are too few or too unequal for three splits: they were cut at line ends into\n"
            f"  pieces of about {corpus.cut:,} bytes, so validation and test texts continue training texts."
        )
    return "\n".join(lines)


def _prepare(
    source: str,
    title: str,
    key: list[object],
    texts: Iterator[bytes],
    root: Path,
    progress: Callable[[int], None] | None,
) -> Corpus:
    source, name = (os.fsencode(text).decode(errors="replace") for text in (source, title))
    digest = hashlib.sha256(repr([FORMAT, *key]).encode()).hexdigest()
    slug = re.sub(r"[^A-Za-z0-9.]+", "-", name)[:48].strip("-.") or "text"

    def build(folder: Path) -> None:
        spool = folder / "spool.bin"
        ends, keys, sha256 = _read(source, texts, spool, progress)
        stream = np.memmap(spool, np.uint8, "r")
        about = About(FORMAT, name, source, sha256, *_write_splits(source, stream, ends, keys, folder))
        write_json(folder / "corpus.json", to_json(about))
        spool.unlink()

    return cached(root / f"{slug}-{digest[:12]}", Corpus.open, build)


@contextmanager
def _spooled_stdin(root: Path) -> Iterator[tuple[Path, str]]:
    """Standard input in a file of its own: only its content shows whether it was read before."""
    with writing(root):
        root.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(dir=root, prefix=".stdin.") as file:
            shutil.copyfileobj(sys.stdin.buffer, file, CHUNK)
            file.flush()
            file.seek(0)
            yield Path(file.name), hashlib.file_digest(file, "sha256").hexdigest()


def _read(
    source: str, texts: Iterable[bytes], spool: Path, progress: Callable[[int], None] | None
) -> tuple[NDArray[np.int64], NDArray[np.uint64], str]:
    """Writes the documents end to end; returns where each ends, the key of each, and the hash of all."""
    ends, keys = array("q"), array("Q")
    total = hashlib.sha256()
    size = reported = 0
    with open(spool, "wb") as file:
        for text in texts:
            digest = hashlib.sha256(text).digest()
            total.update(len(text).to_bytes(8, "little") + digest)
            keys.append(content_key(digest))
            file.write(text)
            size += len(text)
            ends.append(size)
            if progress is not None and size - reported >= CHUNK:
                reported = size
                progress(size)
    if progress is not None and size > reported:
        progress(size)
    if size < LEAST_BYTES:
        raise UserError(f"{source}: holds {size:,} bytes of text; at least {LEAST_BYTES:,} are needed for three splits")
    return np.array(ends, np.int64), np.array(keys, np.uint64), total.hexdigest()


def _write_splits(
    source: str, stream: NDArray[np.uint8], ends: NDArray[np.int64], keys: NDArray[np.uint64], folder: Path
) -> tuple[int, dict[str, Counts], tuple[int, ...]]:
    """Writes the spooled documents split by split; returns their part of corpus.json: cut, splits, byte_counts."""
    part = partition(stream, ends, keys)
    if len(np.unique(part.labels)) < len(SPLITS):
        raise UserError(f"{source}: the text repeats itself: too few different pieces for three splits")
    splits = {}
    for label, name in enumerate(SPLITS):
        chosen = np.flatnonzero(part.labels == label)
        texts = (stream[part.ends[i] - part.sizes[i] : part.ends[i]] for i in chosen)
        splits[name] = write_split(folder, name, texts, SEPARATOR, np.uint8)
    counts = _count_bytes(np.memmap(folder / "train.bin", np.uint8, "r"))
    counts[SEPARATOR] -= splits["train"].documents
    return part.cut, splits, tuple(counts.tolist())


def _count_bytes(stream: NDArray[np.uint8]) -> NDArray[np.int64]:
    counts = np.zeros(256, np.int64)
    for start in range(0, len(stream), CHUNK):
        counts += np.bincount(stream[start : start + CHUNK], minlength=256)
    return counts
