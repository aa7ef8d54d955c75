"""Requests and answers as lines of JSON, for editors and shells that keep one process open.

    {"id": 1, "prefix": "Once upon a ti", "n": 2}
    {"id": 1, "completions": [{"text": "me", "probability": 0.98}, ...], "read": 14}

Every line has one answer, in order, and none ends the exchange: a request that is wrong is answered by what is wrong
with it. docs/typing.md lists the fields.
"""

import json
from collections.abc import Iterator
from typing import Any, BinaryIO

from cpu1.completing.reader import Reader
from cpu1.errors import UserError
from cpu1.runtime.text import as_bytes

FIELDS = ("id", "prefix", "text", "cursor", "n", "max_bytes")
LONGEST_LINE = 16 << 20  # bytes
PLACES = 6  # of a probability


def answers(reader: Reader, requests: BinaryIO, n: int, max_bytes: int) -> Iterator[bytes]:
    """A line for each line of `requests`, as soon as it is there; `n` and `max_bytes` hold where a line has none."""
    for line in _lines(requests):
        yield _encoded(answer(reader, line, n, max_bytes))


def answer(reader: Reader, line: bytes, n: int, max_bytes: int) -> dict[str, Any]:
    """The answer to one line: `completions`, likeliest first, and the bytes `read` for them; or `error`."""
    about: dict[str, Any] = {}
    try:
        request = _request(line)
        if "id" in request:
            about["id"] = _name(request["id"])
        found = reader.complete(_before_cursor(request), request.get("n", n), request.get("max_bytes", max_bytes))
    except UserError as error:
        return {**about, "error": str(error)}
    rows = [{"text": each.text, "probability": round(each.probability, PLACES)} for each in found]
    return {**about, "completions": rows, "read": reader.bytes_read}


def _lines(requests: BinaryIO) -> Iterator[bytes]:
    """Lines without their ends. Of one that is too long, the first LONGEST_LINE bytes."""
    whole = True
    for piece in iter(lambda: requests.readline(LONGEST_LINE), b""):
        if whole:
            yield piece.rstrip(b"\r\n")
        whole = piece.endswith(b"\n")


def _request(line: bytes) -> dict[str, Any]:
    """The fields of a request. UserError for anything else."""
    if len(line) >= LONGEST_LINE:
        raise UserError(f"a line of {LONGEST_LINE >> 20} MiB or more; send less text")
    try:
        found = json.loads(line)
    except (ValueError, RecursionError):
        raise UserError('not a line of JSON, like {"prefix": "Once upon a ti"}') from None
    if not isinstance(found, dict):
        raise UserError(f'not an object, like {{"prefix": "Once upon a ti"}}, but a {type(found).__name__}')
    return found


def _name(value: object) -> str | int | None:
    if value is None or (isinstance(value, str | int) and not isinstance(value, bool)):
        return value
    raise UserError("id: must be a string or a whole number")


def _before_cursor(request: dict[str, Any]) -> bytes:
    """The text before the cursor, in bytes. UserError for fields that are wrong."""
    if unknown := [name for name in request if name not in FIELDS]:
        raise UserError(f"no field {unknown[0]!r}; there are {', '.join(FIELDS)}")
    if ("prefix" in request) == ("text" in request):
        raise UserError("give either prefix or text")
    text = request.get("prefix", request.get("text"))
    if not isinstance(text, str):
        raise UserError(f"{'prefix' if 'prefix' in request else 'text'}: must be a string")
    if "cursor" not in request:
        return as_bytes(text)
    cursor = request["cursor"]
    if "prefix" in request:
        raise UserError("cursor is for text; a prefix ends where the cursor is")
    if isinstance(cursor, bool) or not isinstance(cursor, int) or not 0 <= cursor <= len(text):
        raise UserError(f"cursor: must be a whole number from 0 to {len(text)}, the text's characters")
    return as_bytes(text[:cursor])


def _encoded(record: dict[str, Any]) -> bytes:
    """A line of UTF-8; escapes where half a character came in."""
    try:
        line = json.dumps(record, ensure_ascii=False).encode()
    except UnicodeEncodeError:
        line = json.dumps(record).encode()
    return line + b"\n"
