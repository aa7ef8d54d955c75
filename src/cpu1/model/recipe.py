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
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, Protocol, TypeVar, dataclass_transform

from torch import nn

from cpu1.errors import UserError
from cpu1.format.tokens import separator
from cpu1.records import Parser, Range, later, written

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
    `lower(to, x)` writes x. Where patches differ in length, it also has `cut(units) -> Cut`, which `forward` is given.
    """

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
    """Vectors to logits of `symbols` units, `patch` of them a step at most.

    Module: `look_back`, how many units before a call it reads; `forward(s (B, T, D), units (B, N),
    recent (B, look_back), table) -> (B, T, patch, V)`, where position i may use units < i only; `lower(to, s, table)`.
    A LocalByteDecoder's `forward` also takes the `Cut` of an embedding whose patches differ in length.
    """

    def build(self, width: int, symbols: int, patch: int) -> nn.Module: ...


class Gate(Protocol):
    """Decides which steps the later blocks see. Module: see `delete_gate.DeleteGateModule`; `lower(to, x)`."""

    def build(self, width: int) -> nn.Module: ...
    def position(self, layers: int) -> int: ...
    @property
    def target(self) -> float: ...


class Memory(Protocol):
    """A branch with state in each block. Module: `forward(x, state, keep) -> (y, state)`; `lower(to, x) -> y`."""

    def build(self, width: int) -> nn.Module: ...


class Lookup(Protocol):
    """Adds what is looked up to the local decoder's x. `build` gets the widths of decoder and byte table.

    Module: `reader()` (`lookups.readers.Reader`), `of_text(split, folder)` with `windows(starts, length)` for
    training, `forward(x (B, N, D), found, table) -> x`, where `found` is what readers or `windows` gave;
    `lower(to, x, table, accumulate)` writes x or adds to it.
    """

    def build(self, width: int, quarter: int) -> nn.Module: ...


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
    tables: Lookup | None = later(default=None)
    recall: Lookup | None = later(default=None)
    distill: Distill | None = None

    def __post_init__(self) -> None:
        for name in SIZES:
            if not 1 <= (value := getattr(self, name)) <= LARGEST:
                raise UserError(f"recipe: {name} is {value!r}; it must be a whole number from 1 to {LARGEST}")

    @property
    def level(self) -> str:
        """'byte' or 'token': what a unit is."""
        return self.embedding.level

    @property
    def separator(self) -> int:
        """The unit between documents."""
        return separator(self.level, self.embedding.vocabulary)

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
        return Parser(source, "", _registry, Range(1, LARGEST)).record(cls, rest)

    def hash(self) -> str:
        """Content hash of 16 hex digits: equal recipes have equal hashes, on every machine."""
        return hashlib.sha256(json.dumps(self.to_json(), sort_keys=True).encode()).hexdigest()[:16]


PARTS = tuple(f.name for f in dataclasses.fields(Recipe))


def differences(child: Recipe, parent: Recipe) -> dict[str, tuple[Any, Any]]:
    """The fields in which two recipes differ: name -> (parent's value, child's value)."""
    pairs = {name: (getattr(parent, name), getattr(child, name)) for name in PARTS}
    return {name: pair for name, pair in pairs.items() if pair[0] != pair[1]}


def changed(recipe: Recipe, changes: Iterable[tuple[str, object]]) -> Recipe:
    """The recipe with fields set by name, one after the other, as on a command line.

    ("ffn", "ReLU2") puts an ingredient with its default fields, ("gate", "none") removes an optional one,
    ("head.hidden", "512") and ("layers", 4) set one number. Raises UserError that lists the known names.
    """
    value = recipe.to_json()
    for name, given in changes:
        text = given if isinstance(given, str) else "none" if given is None else json.dumps(given, default=repr)
        part, dot, field = name.partition(".")
        if part not in PARTS:
            raise UserError(f"{name}={text}: a recipe has no {part!r}; it has {', '.join(PARTS)}")
        if not dot:
            value[part] = _read(text) if part in SIZES else None if text == "none" else _fresh(part, text)
        elif isinstance(value.get(part), dict):
            value[part][field] = _read(text)
        else:
            present = ", ".join(key for key, item in value.items() if isinstance(item, dict))
            raise UserError(f"{name}={text}: {part} is no ingredient of this recipe; it has {present}")
    return Recipe.from_json(value, " ".join(f"{name}={text}" for name, text in changes))


def _fresh(part: str, kind: str) -> dict[str, Any]:
    """An ingredient with its default fields; what cannot be built of them alone is left to the reader to refuse."""
    try:
        return dict(_plain(_registry[part][kind]()))
    except (KeyError, TypeError):
        return {"kind": kind}


def _read(text: str) -> Any:
    """A number or truth value, or the text itself."""
    try:
        return json.loads(text)
    except ValueError:
        return text


def _plain(value: Any) -> Any:
    if dataclasses.is_dataclass(value):
        return {"kind": type(value).__name__, **{name: _plain(item) for name, item in written(value).items()}}
    return list(value) if isinstance(value, tuple) else value
