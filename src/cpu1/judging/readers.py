"""Texts to judge, with their names: the documents of files and folders, and the records of JSON lines."""

import json
import warnings
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

from cpu1.data.formats import (
    LONGEST_DOCUMENT,
    LONGEST_LINE,
    file_documents,
    is_binary,
    oddity,
    read_chunks,
    stream_chunks,
    text_documents,
)
from cpu1.data.paths import find_files
from cpu1.errors import UserError


class Named(NamedTuple):
    """A document, and where it is from."""

    name: str
    text: bytes


class Record(NamedTuple):
    """A line of JSON lines: its text, or what is wrong with it."""

    number: int  # from 1
    record: dict[str, Any] | None
    text: bytes
    error: str | None


def named_documents(source: str, field: str, standard: BinaryIO) -> Iterator[Named]:
    """The documents of a file, of a folder's or glob's files, or of `standard` for -.

    A file of several documents numbers them from 1, behind #. Long ones are cut, see `formats.LONGEST_DOCUMENT`. In
    folders, files that look binary or are empty are passed over with a note. UserError for what cannot be read.
    """
    if source == "-":
        yield from _numbered("-", text_documents(stream_chunks(standard)))
        return
    files = find_files(source)
    alone = len(files) == 1 and Path(source).expanduser().is_file()
    if alone and (about := oddity(files[0])):
        warnings.warn(f"{source}: {about}", stacklevel=2)
    for path in files:
        if not alone and is_binary(path):
            warnings.warn(f"{path}: looks binary, and is passed over; name the file itself to judge it", stacklevel=2)
            continue
        yield from _numbered(str(path), file_documents(path, field))


def _numbered(name: str, documents: Iterable[bytes]) -> Iterator[Named]:
    """Documents with their names; the only one of a file has no number."""
    waiting = iter(documents)
    first = next(waiting, None)
    if first is None:
        warnings.warn(f"{name}: empty, nothing to judge", stacklevel=2)
        return
    number = 1
    for document in waiting:
        yield Named(f"{name}#{number}", first)
        number, first = number + 1, document
    yield Named(name if number == 1 else f"{name}#{number}", first)


def records(source: str, field: str, standard: BinaryIO) -> Iterator[Record]:
    """The lines of a file of JSON lines, or of `standard` for -; blank ones are left out.

    A line that is no record with text in `field` comes with what is wrong with it. UserError for a file that cannot be
    read.
    """
    if source == "-":
        lines = _lines(iter(lambda: standard.readline(LONGEST_LINE), b""))
    else:
        files = find_files(source)
        if len(files) != 1:
            raise UserError(f"{source}: --jsonl reads one file, or - for standard input")
        lines = _lines(_of_chunks(read_chunks(files[0])))
    for number, line in enumerate(lines, 1):
        if line.strip():
            yield record_of(number, line, field)


def _lines(pieces: Iterable[bytes]) -> Iterator[bytes]:
    """Lines; of one that is longer than LONGEST_LINE only so much, which is then no JSON."""
    whole = True
    for piece in pieces:
        if whole:
            yield piece
        whole = piece.endswith(b"\n")


def _of_chunks(chunks: Iterable[bytes]) -> Iterator[bytes]:
    rest = b""
    for chunk in chunks:
        *lines, rest = (rest + chunk).split(b"\n")
        yield from (line + b"\n" for line in lines)
        while len(rest) >= LONGEST_LINE:
            yield rest[:LONGEST_LINE]
            rest = rest[LONGEST_LINE:]
    if rest:
        yield rest


def record_of(number: int, line: bytes, field: str) -> Record:
    """One line of JSON lines; what is no record with text in `field` comes with what is wrong with it."""
    if len(line) >= LONGEST_LINE:
        return Record(number, None, b"", f"longer than {LONGEST_LINE >> 20} MiB")
    try:
        found = json.loads(line)
    except (ValueError, RecursionError) as error:
        return Record(number, None, b"", f"not JSON ({error})")
    if not isinstance(found, dict):
        return Record(number, None, b"", f"a {type(found).__name__}, not an object with a field {field!r}")
    if field not in found:
        return Record(number, found, b"", f"no field {field!r}; there are: {', '.join(map(str, found)) or 'none'}")
    value = found[field]
    if not isinstance(value, str):
        return Record(number, found, b"", f"field {field!r} holds a {type(value).__name__}, not text")
    text = value.encode("utf-8", "surrogatepass")
    if len(text) > LONGEST_DOCUMENT:
        return Record(number, found, b"", f"a text of {len(text):,} bytes; cut it to {LONGEST_DOCUMENT:,} or fewer")
    return Record(number, found, text, None)
