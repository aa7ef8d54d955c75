"""Input of the checks: text, and records in JSON lines. Plain files need only numpy, other formats the lab.

`cpu1.data`, which knows all formats, imports the lab's libraries. So plain files are read here.
"""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from cpu1.errors import UserError

CHUNK = 1 << 20
LONGEST_WORD = 1 << 10  # bytes read beyond a chunk, so that it ends between words
LARGEST = 1 << 30  # bytes of a file of records
COMPRESSED = (".gz", ".xz", ".zst")
RECORDS = (".jsonl", ".ndjson", ".parquet")


def text_chunks(source: str) -> Iterator[bytes]:
    """The bytes of a text, about a mebibyte at a time, cut at the ends of lines where there are any.

    `source` is a plain file, or anything that `cpu1 train --data` takes, which needs the lab. Raises UserError when it
    cannot be read.
    """
    path = Path(source)
    if path.is_file() and path.suffix.lower() not in (*COMPRESSED, *RECORDS):
        yield from _plain_chunks(path)
    else:
        from cpu1.data.sources import documents

        yield from documents(source)


def records(path: Path, names: dict[str, str]) -> Iterator[dict[str, str]]:
    """The strings under the keys `names` in the JSON object of each line; each key maps to a second spelling of it.

    Raises UserError naming the line that is no JSON object with these strings, or the file when it has no lines.
    """
    for where, row in json_lines(path, f"a line for each record is needed, with {', '.join(names)}"):
        yield {name: _string(row, name, other, where) for name, other in names.items()}


def json_lines(path: Path, needed: str = "a JSON object a line is needed") -> Iterator[tuple[str, dict[str, Any]]]:
    """The JSON object of each line, and where it is. UserError for a line without one, and for a file without lines."""
    lines = [(number, line) for number, line in enumerate(_whole(path).splitlines(), 1) if line.strip()]
    if not lines:
        raise UserError(f"{path}: empty; {needed}")
    for number, line in lines:
        where = f"{path}: line {number}"
        try:
            row = json.loads(line)
        except (ValueError, RecursionError) as error:
            raise UserError(f"{where} is not JSON ({error})") from None
        if not isinstance(row, dict):
            raise UserError(f"{where} holds a {type(row).__name__}, not an object")
        yield where, row


def _string(row: dict[str, Any], name: str, other: str, where: str) -> str:
    value = row.get(name, row.get(other))
    if value is None:
        raise UserError(f"{where}: no {name!r}; there are: {', '.join(map(str, row)) or 'none'}")
    if not isinstance(value, str) or not value.strip():
        raise UserError(f"{where}: {name!r} is {value!r}, not text")
    return value


def _whole(path: Path) -> bytes:
    parts, size = [], 0
    if path.suffix.lower() in COMPRESSED:
        from cpu1.data.formats import read_chunks

        chunks = read_chunks(path)
    else:
        chunks = _plain_chunks(path)
    for chunk in chunks:
        parts.append(chunk)
        size += len(chunk)
        if size > LARGEST:
            raise UserError(f"{path}: more than {LARGEST >> 30} GiB of records")
    return b"".join(parts)


def _plain_chunks(path: Path) -> Iterator[bytes]:
    try:
        with path.open("rb") as file:
            while chunk := file.read(CHUNK):
                yield chunk + file.readline(LONGEST_WORD)
    except OSError as error:
        raise UserError(f"{path}: not readable ({error.strerror})") from None
