"""What a model is: a frozen recipe of ingredients, JSON both ways, content hash.

A recipe holds every number that is needed to build the model, and nothing else: budget, seed, data
and scale belong to the study. Ingredients are open: any class marked with `@ingredient` can stand in
a recipe and is written to JSON under its own name.
"""

import dataclasses
import hashlib
import json
import types
import typing
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar, dataclass_transform

from cpu1.errors import UserError

if TYPE_CHECKING:
    from cpu1.ingredients import interface

FORMAT = 1
Kind = TypeVar("Kind")

_registry: dict[str, type] = {}


@dataclass_transform(frozen_default=True)
def ingredient(cls: type[Kind]) -> type[Kind]:
    """Marks a config class as an ingredient: frozen dataclass, known to JSON by its class name."""
    frozen = dataclass(frozen=True)(cls)
    _registry[frozen.__name__] = frozen
    return frozen


@dataclass(frozen=True)
class Recipe:
    """One model. `patch` units (bytes or tokens) enter and leave the trunk at a time."""

    width: int  # d, of the residual stream
    layers: int  # L
    embedding: "interface.Embedding"
    mixer: "interface.Mixer"
    ffn: "interface.FFN"
    linear: "interface.Linear"
    head: "interface.Head"
    residual: "interface.Residual | None" = None
    gate: "interface.Gate | None" = None
    memory: "interface.Memory | None" = None
    distill: "interface.Distill | None" = None

    def __post_init__(self) -> None:
        for name in ("width", "layers"):
            value = getattr(self, name)
            if not isinstance(value, int) or not 1 <= value <= 65536:
                raise UserError(f"recipe: {name} is {value!r}; it must be a whole number from 1 to 65536")

    @property
    def level(self) -> str:
        """'byte' or 'token': what a unit is."""
        return self.embedding.level

    def replace(self, **changes: Any) -> "Recipe":
        return dataclasses.replace(self, **changes)

    def to_json(self) -> dict[str, Any]:
        return {"format": FORMAT, **{f.name: _plain(getattr(self, f.name)) for f in dataclasses.fields(self)}}

    @classmethod
    def from_json(cls, value: Any, source: str = "recipe") -> "Recipe":
        """Reads what `to_json` gave; the ingredients' modules must have been imported.

        Raises UserError naming `source` for another format version, unknown ingredients or fields.
        """
        if not isinstance(value, dict) or value.get("format") != FORMAT:
            found = value.get("format") if isinstance(value, dict) else value
            raise UserError(f"{source}: recipe format {found!r} is not {FORMAT}; made by another version of cpu1?")
        rest = {key: item for key, item in value.items() if key != "format"}
        return _construct(cls, rest, source)

    def hash(self) -> str:
        """Content hash: equal recipes, equal hash, on every machine."""
        return hashlib.sha256(json.dumps(self.to_json(), sort_keys=True).encode()).hexdigest()[:16]


def differences(child: Recipe, parent: Recipe) -> dict[str, tuple[Any, Any]]:
    """The fields in which two recipes differ: name -> (parent's value, child's value)."""
    pairs = {f.name: (getattr(parent, f.name), getattr(child, f.name)) for f in dataclasses.fields(Recipe)}
    return {name: pair for name, pair in pairs.items() if pair[0] != pair[1]}


def _plain(value: Any) -> Any:
    if dataclasses.is_dataclass(value):
        fields = {f.name: _plain(getattr(value, f.name)) for f in dataclasses.fields(value)}
        return {"kind": type(value).__name__, **fields}
    return value


def _construct(cls: type, fields: dict[str, Any], source: str) -> Any:
    known = {f.name: f for f in dataclasses.fields(cls)}
    if unknown := sorted(set(fields) - set(known)):
        raise UserError(f"{source}: {cls.__name__} has no field {unknown[0]!r}; it has {', '.join(known)}")
    required = {name for name, field in known.items() if field.default is dataclasses.MISSING}
    if missing := sorted(required - set(fields)):
        raise UserError(f"{source}: {cls.__name__} lacks the field {missing[0]!r}")
    values = {name: _value(cls, name, item, source) for name, item in fields.items()}
    return cls(**values)


def _value(cls: type, name: str, item: Any, source: str) -> Any:
    """An ingredient by its kind, or a plain number, text or truth value of the declared type."""
    if isinstance(item, dict):
        kind = item.get("kind")
        if cls is not Recipe or kind not in _registry:
            raise UserError(f"{source}: {name}: unknown ingredient {kind!r}; known: {', '.join(sorted(_registry))}")
        return _construct(_registry[kind], {k: v for k, v in item.items() if k != "kind"}, f"{source}: {name}")
    if cls is Recipe and name not in ("width", "layers"):
        if item is None:
            return None
        raise UserError(f"{source}: {name}: {item!r} is not an ingredient")
    allowed = _types(typing.get_type_hints(cls)[name]) if cls is not Recipe else (int,)
    fits = isinstance(item, allowed) and (not isinstance(item, bool) or bool in allowed)
    if not fits:
        raise UserError(f"{source}: {cls.__name__}.{name} is {item!r}; expected {allowed[0].__name__}")
    return item


def _types(hint: Any) -> tuple[type, ...]:
    kinds = typing.get_args(hint) if isinstance(hint, types.UnionType) else (hint,)
    return (*kinds, int) if float in kinds else kinds
