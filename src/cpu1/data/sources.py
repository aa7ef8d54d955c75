"""Kinds of sources of text: the embedded corpus, a Hugging Face dataset, standard input, and files.

Every source becomes an iterator over documents of raw bytes (see `source.Source`). A new kind is a class like those
listed in KINDS.
"""

import sys
from collections.abc import Iterator
from pathlib import Path

from cpu1.data.formats import stream_chunks, text_documents
from cpu1.data.hub import HubSource
from cpu1.data.paths import PathSource
from cpu1.data.source import Source
from cpu1.data.stdlib import StdlibSource

STDIN = "-"
KINDS: tuple[type[Source], ...] = (StdlibSource, HubSource, PathSource)  # the first that claims a name has it


def find_source(name: str, field: str = "text") -> Source:
    """The source of a name. UserError for a name that its kind refuses."""
    return next(kind(name, field) for kind in KINDS if kind.claims(name))


def files(source: str) -> list[Path]:
    """The files that a source reads, as far as it is files. UserError when it is missing."""
    if source == STDIN:
        return []
    return [Path(part[0]) for part in find_source(source).identity() if isinstance(part, tuple)]


def documents(source: str, field: str = "text") -> Iterator[bytes]:
    """The non-empty documents of `source`, of at most 1 MiB each (longer ones are cut), in a stable order.

    `source` is `python-stdlib`; a file, a folder (recursive, sorted, without hidden names) or a glob; `-` for stdin; or
    `hf:NAME[:SPLIT]`, a dataset or a local dataset folder, streamed. Links are followed once. Files may end in `.gz`,
    `.xz`, `.bz2` or `.zst`. Each record of `.jsonl` and `.parquet` gives the text of `field` as a document. In every
    other file a line with a single form feed separates two documents. In folders and globs, files that look binary are
    skipped with a warning; a file that is named itself is always read.

    Raises UserError when the source is missing, unreadable or damaged, or has no such field.
    """
    if source == STDIN:
        yield from text_documents(stream_chunks(sys.stdin.buffer))
    else:
        yield from find_source(source, field).documents()
