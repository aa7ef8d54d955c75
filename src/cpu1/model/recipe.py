"""What a model is: a frozen recipe of ingredients, JSON both ways, content hash.

A recipe holds every number that is needed to build the model, and nothing else: budget, seed, data and scale belong to
the study. Ingredients are open: any class marked with `@ingredient` fits the field of a recipe that it names, and is
written to JSON under its own name.

Shapes: B streams, T steps of the trunk (patches or tokens), D width, N = T * patch units, V symbols. `keep` (B, T) is
the DeleteGate's k for the blocks after it, None for those before it.

Modules lower themselves to operations of the runtime (docs/operations.md) with a `cpu1.model.builder.Builder`, `to`
below: they append to its program what `forward` computes for one step. x is the slice of the residual stream.
"""

import dataclasses
import hashlib
import json
import math
import types
import typing
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, Protocol, TypeVar, dataclass_transform

from torch import nn

from cpu1.errors import UserError
from cpu1.records import later, written

FORMAT = 1
SIZES = ("width", "layers")  # the fields of a recipe that are no ingredients
LARGEST = 65536  # of any size in a recipe
Config = TypeVar("Config")

_registry: dict[str, dict[str, type]] = {}  # field of a recipe -> the ingredients that fit it, by name


@dataclass_transform(frozen_default=True, field_specifiers=(later,))
def ingredient(part: str) -> Callable[[type[Config]], type[Config]]:
    """Decorator: registers a config class as an ingredient for the field `part` of a recipe, like "ffn".

    It becomes a frozen dataclass, known to JSON by its class name; its whole numbers are sizes, from 1 to `LARGEST`.
    """

    def register(cls: type[Config]) -> type[Config]:
        frozen = dataclass(frozen=True)(cls)
        _registry.setdefault(part, {})[frozen.__name__] = frozen
        return frozen

    return register


class Embedding(Protocol):
    """Units to vectors. Module: `first(batch) -> (B, 1, D)`, `forward(units (B, N)) -> (B, T, D)`, `table()`;
    `lower(to, x)` writes x."""

    @property
    def level(self) -> str: ...
    @property
    def patch(self) -> int: ...
    @property
    def vocabulary(self) -> int: ...
    def build(self, width: int) -> nn.Module: ...


class Linear(Protocol):
    """The matrices of mixers and FFNs. `input` normalises what it reads; `parts` are stacked matrices.

    Module: `forward(x, inner, up)`, the latter two from a Residual. An output also has `of_swiglu(x, input)` and
    `of_mlgru(fcg, keep, h0) -> (y, h)`, which may fuse the operations before it. `lower(to, x, out)` writes out.
    """

    def input(self, width: int, parts: tuple[int, ...]) -> nn.Module: ...
    def output(self, inner: int, width: int) -> nn.Module: ...


class Residual(Protocol):
    """A low-rank path added to a mixer's input projection. Module: `forward(x (B, T, D)) -> (inner, up)`, see
    `ops.ternary_linear`; `lower(to, x, y)` adds to y."""

    def build(self, width: int, parts: tuple[int, ...]) -> nn.Module: ...


class Mixer(Protocol):
    """Mixes over time. Module: `forward(x, state, keep) -> (y, state)`; state None is the cold start.
    `lower(to, x) -> y`, with the state under `to.state`."""

    def build(self, recipe: "Recipe") -> nn.Module: ...


class FFN(Protocol):
    """Mixes over channels. Module: `forward(x) -> y`; `lower(to, x) -> y`."""

    def build(self, recipe: "Recipe") -> nn.Module: ...


class Head(Protocol):
    """Vectors to logits. Module: `look_back`, how many units before a call it reads; `forward(s (B, T, D),
    units (B, N), recent (B, look_back), table) -> (B, T, patch, V)`, where position i may use units < i only;
    `lower(to, s, table)`."""

    def build(self, width: int) -> nn.Module: ...


class Gate(Protocol):
    """Decides which steps the later blocks see. Module: see `delete_gate.DeleteGateModule`; `lower(to, x)`."""

    def build(self, width: int) -> nn.Module: ...
    def position(self, layers: int) -> int: ...
    @property
    def target(self) -> float: ...


class Memory(Protocol):
    """A branch with state in each block. Module: `forward(x, state, keep) -> (y, state)`; `lower(to, x) -> y`."""

    def build(self, width: int) -> nn.Module: ...


class Distill(Protocol):
    """Learns from a teacher; nothing of it is lowered. Module, if it needs one: see `distillation.HiddenProjection`."""

    alpha: float
    temperature: float

    def build(self, width: int) -> nn.Module | None: ...


@dataclass(frozen=True)
class Recipe:
    """One model. A patch of units (bytes or tokens) enters and leaves the trunk at a time.

    UserError for a width or number of layers outside 1 to `LARGEST`.
    """

    width: int  # d, of the residual stream
    layers: int  # L
    embedding: Embedding
    mixer: Mixer
    ffn: FFN
    linear: Linear
    head: Head
    residual: Residual | None = None
    gate: Gate | None = None
    memory: Memory | None = None
    distill: Distill | None = None

    def __post_init__(self) -> None:
        for name in SIZES:
            value = getattr(self, name)
            if not isinstance(value, int) or not 1 <= value <= LARGEST:
                raise UserError(f"recipe: {name} is {value!r}; it must be a whole number from 1 to {LARGEST}")

    @property
    def level(self) -> str:
        """'byte' or 'token': what a unit is."""
        return self.embedding.level

    def replace(self, **changes: Any) -> "Recipe":
        """A copy with some fields changed."""
        return dataclasses.replace(self, **changes)

    def to_json(self) -> dict[str, Any]:
        """The recipe as JSON: plain fields, and each ingredient with its class name under "kind"."""
        return {"format": FORMAT, **{name: _plain(value) for name, value in written(self).items()}}

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
        """Content hash of 16 hex digits: equal recipes have equal hashes, on every machine."""
        return hashlib.sha256(json.dumps(self.to_json(), sort_keys=True).encode()).hexdigest()[:16]


def differences(child: Recipe, parent: Recipe) -> dict[str, tuple[Any, Any]]:
    """The fields in which two recipes differ: name -> (parent's value, child's value)."""
    pairs = {f.name: (getattr(parent, f.name), getattr(child, f.name)) for f in dataclasses.fields(Recipe)}
    return {name: pair for name, pair in pairs.items() if pair[0] != pair[1]}


def changed(recipe: Recipe, changes: Iterable[tuple[str, str]]) -> Recipe:
    """The recipe with fields set by name, one after the other, as on a command line.

    ("ffn", "ReLU2") puts an ingredient with its default fields, ("gate", "none") removes an optional one,
    ("head.hidden", "512") and ("layers", "4") set one number. Raises UserError that lists the known names.
    """
    value = recipe.to_json()
    for name, text in changes:
        part, dot, field = name.partition(".")
        if part not in _fields(Recipe):
            raise UserError(f"{name}={text}: a recipe has no {part!r}; it has {', '.join(_fields(Recipe))}")
        if not dot:
            value[part] = _read(text) if part in SIZES else None if text == "none" else {"kind": text}
        elif isinstance(value.get(part), dict):
            value[part][field] = _read(text)
        else:
            present = ", ".join(key for key, item in value.items() if isinstance(item, dict))
            raise UserError(f"{name}={text}: {part} is no ingredient of this recipe; it has {present}")
    return Recipe.from_json(value, " ".join(f"{name}={text}" for name, text in changes))


def _read(text: str) -> Any:
    """A number or truth value, or the text itself."""
    try:
        return json.loads(text)
    except ValueError:
        return text


def _plain(value: Any) -> Any:
    if dataclasses.is_dataclass(value):
        return {"kind": type(value).__name__, **{name: _plain(item) for name, item in written(value).items()}}
    return value


def _construct(cls: type, fields: dict[str, Any], source: str) -> Any:
    known = _fields(cls)
    if unknown := sorted(set(fields) - set(known)):
        raise UserError(f"{source}: {cls.__name__} has no field {unknown[0]!r}; it has {', '.join(known)}")
    required = {name for name, field in known.items() if field.default is dataclasses.MISSING}
    if missing := sorted(required - set(fields)):
        raise UserError(f"{source}: {cls.__name__} lacks the field {missing[0]!r}")
    make = _part if cls is Recipe else _value
    return cls(**{name: make(cls, known[name], item, source) for name, item in fields.items()})


def _part(cls: type, field: dataclasses.Field, item: Any, source: str) -> Any:
    """A field of a recipe: a size, an ingredient by its kind, or none."""
    if field.name in SIZES:
        return _fitting(cls, field.name, item, (int,), source)
    if item is None and field.default is None:
        return None
    known = _registry.get(field.name, {})
    if not isinstance(item, dict):
        raise UserError(f"{source}: {field.name}: {item!r} is not an ingredient; known: {', '.join(sorted(known))}")
    kind = item.get("kind")
    if kind not in known:
        raise UserError(f"{source}: {field.name}: unknown ingredient {kind!r}; known: {', '.join(sorted(known))}")
    return _construct(known[kind], {k: v for k, v in item.items() if k != "kind"}, f"{source}: {field.name}")


def _value(cls: type, field: dataclasses.Field, item: Any, source: str) -> Any:
    """A field of an ingredient: a plain number, text or truth value of the declared type."""
    value = _fitting(cls, field.name, item, _types(typing.get_type_hints(cls)[field.name]), source)
    if type(value) is int and not 1 <= value <= LARGEST:
        raise UserError(f"{source}: {cls.__name__}.{field.name} is {value}; it must be from 1 to {LARGEST}")
    if isinstance(value, float) and not math.isfinite(value):
        raise UserError(f"{source}: {cls.__name__}.{field.name} is {value}; it must be finite")
    return value


def _fitting(cls: type, name: str, item: Any, allowed: tuple[type, ...], source: str) -> Any:
    """`item` as the type that is declared, where it is of one of the types `allowed`."""
    fits = isinstance(item, allowed) and (not isinstance(item, bool) or bool in allowed)
    if not fits:
        raise UserError(f"{source}: {cls.__name__}.{name} is {item!r}; expected {allowed[0].__name__}")
    return float(item) if allowed[0] is float else item


def _types(hint: Any) -> tuple[type, ...]:
    kinds = typing.get_args(hint) if isinstance(hint, types.UnionType) else (hint,)
    return (*kinds, int) if float in kinds else kinds


def _fields(cls: type) -> dict[str, dataclasses.Field]:
    return {field.name: field for field in dataclasses.fields(cls)}
