"""The description of the API in the form of OpenAPI 3.1, made from the table of addresses and their fields."""

from collections.abc import Callable, Sequence
from importlib.metadata import version
from typing import Any, NamedTuple

from cpu1.server.fields import Field, Fields
from cpu1.server.settings import Settings

ERROR = {
    "type": "object",
    "required": ["error"],
    "properties": {
        "error": {
            "type": "object",
            "required": ["message", "type", "param", "code"],
            "properties": {
                "message": {"type": "string"},
                "type": {"type": "string"},
                "param": {"type": ["string", "null"]},
                "code": {"type": ["string", "null"]},
            },
        }
    },
}


class Described(NamedTuple):
    """An address as this page needs it."""

    method: str
    path: str
    about: str
    fields: Callable[[Settings], Fields] | None
    key: bool


def page(rows: Sequence[Described], settings: Settings) -> dict[str, Any]:
    """The whole description."""
    paths: dict[str, dict[str, Any]] = {}
    for row in rows:
        paths.setdefault(row.path, {})[row.method.lower()] = _operation(row, settings)
    return {
        "openapi": "3.1.0",
        "info": {"title": "CPU-1", "version": version("cpu1"), "description": "OpenAI's API for a byte-level model."},
        "paths": paths,
        "components": {"schemas": {"Error": ERROR}, "securitySchemes": {"key": {"type": "http", "scheme": "bearer"}}},
    }


def _operation(row: Described, settings: Settings) -> dict[str, Any]:
    wrong = {
        "description": "an error",
        "content": {"application/json": {"schema": {"$ref": "#/components/schemas/Error"}}},
    }
    found: dict[str, Any] = {
        "summary": " ".join(row.about.split()),
        "responses": {"200": {"description": "the answer"}, "default": wrong},
        "security": [{"key": []}] if row.key and settings.keys else [],
    }
    if "{model}" in row.path:
        found["parameters"] = [{"name": "model", "in": "path", "required": True, "schema": {"type": "string"}}]
    if row.fields:
        fields = row.fields(settings)
        schema = {
            "type": "object",
            "additionalProperties": False,
            "properties": {name: _property(field) for name, field in fields.items()},
            "required": [name for name, field in fields.items() if field.required],
        }
        found["requestBody"] = {"required": True, "content": {"application/json": {"schema": schema}}}
    return found


def _property(field: Field) -> dict[str, Any]:
    plain = isinstance(field.default, int | float | str) and not field.required
    return {**field.schema, "description": field.about, **({"default": field.default} if plain else {})}
