"""Frozen dataclasses that are kept as JSON: written, read strictly, and allowed to grow.

Read strictly: every field has its declared type and range, nothing is missing and nothing is unknown; what does not
fit is named with its file and key. A declared type is a scalar, a `Literal`, a dataclass, `tuple[X, ...]`,
`tuple[X, Y]`, `dict[str, X]`, `Any`, any of these `| None`, or a scalar with a `Range` or `OneOf` in `Annotated`.

Allowed to grow: what was written before a field joined must go on meaning, hashing and resuming the same. So a field
that joins later is left out of JSON where it holds what was done before it, which is its default unless it says so.
"""

import dataclasses
import math
import reprlib
import sys
import types
import typing
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

from cpu1.errors import UserError
from cpu1.files import read_json

T = TypeVar("T")
REMEDY = "the file is damaged or from another version of cpu1"
LARGEST = sys.float_info.max  # of whole numbers too, which are divided somewhere
WORDS = {int: "a whole number", float: "a number", str: "text", bool: "true or false"}
_LATER = "joined later"


@dataclass(frozen=True)
class Range:
    """From the least to the most of a number, both allowed. Infinity and NaN never are."""

    least: float = -math.inf
    most: float = math.inf

    def holds(self, value: float) -> bool:
        """Whether the value is finite and within the range, both ends included."""
        return self.least <= value <= self.most and abs(value) <= LARGEST

    def words(self, kind: str) -> str:
        """The range for an error message; `kind` names the type, such as "a number"."""
        if self.most < math.inf:
            return f"{kind} from {self.least:g} to {self.most:g}"
        return f"{kind} of at least {self.least:g}" if self.least > -math.inf else f"{kind} that is finite"


@dataclass(frozen=True)
class OneOf:
    """The texts that a field can hold."""

    choices: tuple[str, ...]

    def holds(self, value: str) -> bool:
        """Whether the value is one of the choices."""
        return value in self.choices

    def words(self, _: str) -> str:
        """The choices for an error message."""
        return " or ".join(self.choices)


ANY = Range()
Count = Annotated[int, Range(0)]
Amount = Annotated[float, Range(0)]  # of something that cannot be negative
Level = Annotated[str, OneOf(("byte", "token"))]  # of a model: what a unit is


def later(*, default: Any, before: Any = None) -> Any:
    """A dataclass field that joined after records had been written; they mean `before`, or else the default."""
    return field(default=default, metadata={_LATER: default if before is None else before})


def written(record: Any) -> dict[str, Any]:
    """The fields of a dataclass that stand in its JSON, by name, as they are."""
    fields = {f.name: (f, getattr(record, f.name)) for f in dataclasses.fields(record)}
    return {
        name: value for name, (f, value) in fields.items() if not (_LATER in f.metadata and value == f.metadata[_LATER])
    }


def to_json(value: Any) -> Any:
    """A record as JSON objects, lists and scalars, its fields in the order in which they are declared."""
    if dataclasses.is_dataclass(value):
        return {name: to_json(item) for name, item in written(value).items()}
    if isinstance(value, Mapping):
        return {name: to_json(item) for name, item in value.items()}
    return [to_json(item) for item in value] if isinstance(value, tuple | list) else value


def read(cls: type[T], path: Path, remedy: str = REMEDY) -> T:
    """The record in a JSON file; UserError names the file, the key and the `remedy`."""
    return parse(cls, read_json(path), str(path), remedy)


def read_all(cls: type[T], path: Path, remedy: str = REMEDY) -> dict[str, T]:
    """The records of one kind in a JSON file, by name; raises as `read` does."""
    return parse(dict[str, cls], read_json(path), str(path), remedy)  # type: ignore[valid-type]


def required(hint: Any) -> Any:
    """A declared type, but not null."""
    kinds = typing.get_args(hint) if typing.get_origin(hint) in (types.UnionType, typing.Union) else (hint,)
    return next(kind for kind in kinds if kind is not type(None))


def parse(kind: type[T], value: Any, source: str, remedy: str = REMEDY) -> T:
    """A record, or another declared type, from parsed JSON; UserError names `source`, the key and the `remedy`."""
    return Parser(source, remedy).value(kind, value, "")


class Parser:
    """Builds records from parsed JSON.

    kinds: for a field of the outermost record, the dataclasses that can stand in it, by the name under "kind".
    whole: the range of whole numbers that are declared without one.
    """

    def __init__(
        self,
        source: str,
        remedy: str = REMEDY,
        kinds: Mapping[str, Mapping[str, type]] | None = None,
        whole: Range = ANY,
    ) -> None:
        self.source, self.remedy, self.kinds, self.whole = source, remedy, kinds or {}, whole

    def value(self, hint: Any, item: Any, key: str) -> Any:
        """`item` as the type `hint`; `key` is its place in the JSON, like corpus.name."""
        origin, arguments = typing.get_origin(hint), typing.get_args(hint)
        if hint is Any:
            return item
        if origin in (types.UnionType, typing.Union):
            (inner,) = (argument for argument in arguments if argument is not type(None))
            return None if item is None else self.value(inner, item, key)
        if origin is Literal:
            if any(item == choice and type(item) is type(choice) for choice in arguments):
                return item
            raise self.fault(key, item, " or ".join(map(str, arguments)))
        if origin is tuple:
            return self._tuple(arguments, item, key)
        if origin is dict:
            members = self._object(item, key)
            return {name: self.value(arguments[1], member, _join(key, name)) for name, member in members.items()}
        if dataclasses.is_dataclass(hint):
            return self.record(hint, item, key)  # type: ignore[arg-type]
        return self._scalar(hint, item, key)

    def record(self, cls: type, item: Any, key: str = "") -> Any:
        """A dataclass from a JSON object."""
        members, known, hints = self._object(item, key), _fields(cls), _hints(cls)
        if unknown := next((name for name in members if name not in known), None):
            place = _join(key, unknown)
            raise UserError(self._said(f'"{place}" is unknown; {cls.__name__} has {", ".join(known)}'))
        values = {}
        for name, about in known.items():
            place = _join(key, name)
            if name in members:
                chosen = None if key else self.kinds.get(name)
                parse = self.value if chosen is None else self._chosen(chosen, about.default is None)
                values[name] = parse(hints[name], members[name], place)
            elif _LATER in about.metadata:
                values[name] = about.metadata[_LATER]
            elif about.default is dataclasses.MISSING and about.default_factory is dataclasses.MISSING:
                raise UserError(self._said(f'"{place}" is missing, should be {self._wanted(hints[name])}'))
        try:
            return cls(**values)
        except UserError as error:  # the dataclass's own check
            raise UserError(f"{self.source}: {error}") from None

    def fault(self, key: str, item: Any, wanted: str) -> UserError:
        """What to raise where `item` is not what was `wanted`."""
        place = f'"{key}"' if key else "the whole"
        return UserError(self._said(f"{place} is {reprlib.repr(item)}, should be {wanted}"))

    def _said(self, what: str) -> str:
        return f"{self.source}: {what}" + (f"; {self.remedy}" if self.remedy else "")

    def _chosen(self, known: Mapping[str, type], optional: bool) -> Any:
        """Parses an object whose "kind" names one of the dataclasses `known`."""

        def parse(_: Any, item: Any, key: str) -> Any:
            if item is None and optional:
                return None
            kind = item.get("kind") if isinstance(item, dict) else item
            if not isinstance(item, dict) or not isinstance(kind, str) or kind not in known:
                raise self.fault(key, kind, f"one of {', '.join(sorted(known))}")
            return self.record(known[kind], {name: value for name, value in item.items() if name != "kind"}, key)

        return parse

    def _object(self, item: Any, key: str) -> dict[str, Any]:
        if not isinstance(item, dict):
            raise self.fault(key, item, "an object")
        return item

    def _tuple(self, arguments: Sequence[Any], item: Any, key: str) -> tuple[Any, ...]:
        if not isinstance(item, list):
            raise self.fault(key, item, "a list")
        if arguments[-1] is Ellipsis:
            inner, allowed = _scalar_type(arguments[0])
            if inner in (int, float) and all(type(value) is inner and allowed.holds(value) for value in item):
                return tuple(item)  # the usual long list, quickly
            return tuple(self.value(arguments[0], value, f"{key}[{i}]") for i, value in enumerate(item))
        if len(item) != len(arguments):
            raise self.fault(key, item, f"a list of {len(arguments)}")
        pairs = enumerate(zip(arguments, item, strict=True))
        return tuple(self.value(hint, value, f"{key}[{i}]") for i, (hint, value) in pairs)

    def _scalar(self, hint: Any, item: Any, key: str) -> Any:
        kind, allowed = _scalar_type(hint)
        if kind is int and allowed is ANY:
            allowed = self.whole
        wide = (int, float) if kind is float else kind
        if not isinstance(item, wide) or (isinstance(item, bool) and kind is not bool):
            raise self.fault(key, item, self._wanted(hint))
        if kind is float:
            item = float(item) if abs(item) <= sys.float_info.max or item != item else math.inf
        if (kind in (int, float) or allowed is not ANY) and not allowed.holds(item):
            raise self.fault(key, item, allowed.words(WORDS[kind]))
        return item

    def _wanted(self, hint: Any) -> str:
        """A declared type in words."""
        if typing.get_origin(hint) in (types.UnionType, typing.Union):
            return self._wanted(typing.get_args(hint)[0]) + " or null"
        kind, allowed = _scalar_type(hint)
        if kind in WORDS:
            return WORDS[kind] if allowed is ANY else allowed.words(WORDS[kind])
        origin, arguments = typing.get_origin(kind), typing.get_args(kind)
        return " or ".join(map(str, arguments)) if origin is Literal else "a list" if origin is tuple else "an object"


def _scalar_type(hint: Any) -> tuple[Any, Any]:
    """A scalar's type, and its Range or OneOf; anything else as it is."""
    if typing.get_origin(hint) is Annotated:
        kind, allowed = typing.get_args(hint)
        return kind, allowed
    return hint, ANY


def _join(key: str, name: str) -> str:
    return f"{key}.{name}" if key else name


@cache
def _fields(cls: type) -> dict[str, dataclasses.Field]:
    return {f.name: f for f in dataclasses.fields(cls)}


@cache
def _hints(cls: type) -> dict[str, Any]:
    return typing.get_type_hints(cls, include_extras=True)
