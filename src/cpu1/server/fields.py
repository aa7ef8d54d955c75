"""Fields of requests: each is read, checked and described in one place.

A table of fields reads a request and is its schema on the page of the API.
"""

import difflib
import json
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from cpu1.server.errors import ApiError

MOST_TEXTS = 128  # of a request
MOST_STOPS, LONGEST_STOP = 16, 256
SHOWN = 60  # characters of a wrong value in a message


@dataclass(frozen=True)
class Field:
    """One field: `read` returns its value from what JSON held, and raises ValueError with what it must be."""

    about: str
    schema: Mapping[str, Any]
    read: Callable[[Any], Any]
    default: Any = None
    required: bool = False


Fields = Mapping[str, Field]


def read(body: Mapping[str, Any], fields: Fields) -> dict[str, Any]:
    """The values of all fields; null is the default. ApiError for a field that is wrong, missing or not known."""
    for name in body:
        if name not in fields:
            close = difflib.get_close_matches(name[:100], fields, 1)
            hint = f", did you mean {close[0]}?" if close else ""
            raise ApiError(400, f"there is no field {shown(name)}{hint}", param=name[:100], code="unknown_field")
    found = {}
    for name, field in fields.items():
        value = body.get(name)
        if value is None:
            if field.required:
                raise ApiError(400, f"the field {name} is missing", param=name, code="missing_field")
            found[name] = field.default
            continue
        try:
            found[name] = field.read(value)
        except ValueError as error:
            raise ApiError(400, f"{name} is {shown(value)}; {error}", param=name, code="invalid_value") from None
    return found


def shown(value: Any) -> str:
    """A value as JSON in one short line."""
    text = json.dumps(value)
    return text if len(text) <= SHOWN else f"{text[:SHOWN]}..."


def whole(about: str, default: int | None, least: int, most: int) -> Field:
    """A whole number."""

    def read(value: Any) -> int:
        if isinstance(value, float) and value.is_integer():
            value = int(value)  # JavaScript knows no difference
        if type(value) is not int or not least <= value <= most:
            raise ValueError(f"give a whole number from {least:,} to {most:,}")
        return value

    schema = {"type": "integer", "minimum": least, "maximum": most}
    return Field(about, schema, read, default)


def number(about: str, default: float, least: float, most: float) -> Field:
    """A number."""

    def read(value: Any) -> float:
        if type(value) not in (int, float) or not (least <= value <= most and math.isfinite(value)):
            raise ValueError(f"give a number from {least:g} to {most:g}")
        return float(value)

    return Field(about, {"type": "number", "minimum": least, "maximum": most}, read, default)


def flag(about: str) -> Field:
    """True or false, false by default."""

    def read(value: Any) -> bool:
        if type(value) is not bool:
            raise ValueError("give true or false")
        return value

    return Field(about, {"type": "boolean"}, read, False)


def text(about: str, most: int = 1000, required: bool = False) -> Field:
    """A string of at most `most` bytes."""
    return Field(about, {"type": "string"}, lambda value: as_text(value, most), None, required)


def as_text(value: Any, most: int) -> str:
    """A string that is valid Unicode, of at most `most` bytes as UTF-8; ValueError for anything else."""
    if not isinstance(value, str):
        raise ValueError("give a string")
    try:
        size = len(value.encode())
    except UnicodeEncodeError as error:
        raise ValueError(f"half of a surrogate pair is at character {error.start:,}, which is no text") from None
    if size > most:
        raise ValueError(f"it has {size:,} bytes, and this server takes {most:,}")
    return value


def texts(about: str, most: int, *, required: bool = True, tokens: bool = False) -> Field:
    """A string, or a list of them; with `tokens` also lists of bytes as numbers. Read as a list of bytes."""

    def one(value: Any) -> bytes:
        if tokens and isinstance(value, list):
            if len(value) > most:
                raise ValueError(f"it has {len(value):,} bytes, and this server takes {most:,}")
            return _bytes(value)
        return as_text(value, most).encode()

    def read(value: Any) -> list[bytes]:
        alone = not isinstance(value, list) or (tokens and bool(value) and type(value[0]) is int)
        many = [value] if alone else value
        if not 1 <= len(many) <= MOST_TEXTS:
            raise ValueError(f"give 1 to {MOST_TEXTS} texts")
        return [one(each) for each in many]

    string: dict[str, Any] = {"type": "string"}
    row = {"type": "array", "items": {"type": "integer", "minimum": 0, "maximum": 255}}
    kinds = [string, {"type": "array", "items": string}] + [row, {"type": "array", "items": row}] * tokens
    return Field(about, {"anyOf": kinds}, read, [b""], required)


def _bytes(values: list[Any]) -> bytes:
    if not all(type(each) is int and 0 <= each < 256 for each in values):
        raise ValueError("a token is a byte: give whole numbers from 0 to 255")
    return bytes(values)


def stops(about: str) -> Field:
    """A stop string, or a list of them. Read as a tuple."""

    def read(value: Any) -> tuple[str, ...]:
        many = [value] if isinstance(value, str) else value
        if not isinstance(many, list) or len(many) > MOST_STOPS:
            raise ValueError(f"give a string, or a list of at most {MOST_STOPS}")
        if not all(found := [as_text(each, LONGEST_STOP) for each in many]):
            raise ValueError("an empty string would stop at once")
        return tuple(found)

    string = {"type": "string", "minLength": 1}
    schema = {"anyOf": [string, {"type": "array", "items": string, "maxItems": MOST_STOPS}]}
    return Field(about, schema, read, ())


def stream_options() -> Field:
    """Whether a stream ends with its usage. Read as a truth value."""

    def read(value: Any) -> bool:
        if not isinstance(value, dict):
            raise ValueError("give an object")
        for name, inner in value.items():
            if name not in ("include_usage", "include_obfuscation"):
                raise ValueError("it may have include_usage")
            if type(inner) is not bool:
                raise ValueError(f"{name} is true or false")
        return value.get("include_usage", False)

    schema = {"type": "object", "properties": {"include_usage": {"type": "boolean"}}}
    return Field("with include_usage, a stream's last piece has the usage", schema, read, False)


def ignored(about: str) -> Field:
    """What clients send along, and this server does not need."""
    return Field(about, {}, lambda value: None)


def only(about: str, *values: Any) -> Field:
    """A setting of which this server has just the usual values, which may be sent."""

    def read(value: Any) -> None:
        if not any(value == each and type(value) in (type(each), float, int) for each in values):
            raise ValueError(f"this server has only {' or '.join(map(json.dumps, values))}")

    return Field(about, {"enum": [*values, None]}, read)
