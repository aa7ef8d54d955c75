"""What a model computes, as data: a short list of operations from a closed set, JSON both ways, validated.

Ingredients are open, operations are closed: an ingredient lowers itself to operations of `cpu1.format.operations`, and
a runtime that knows those runs every model. Registers are fp32 vectors of fixed size, one set a step. Torch-free.
"""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from cpu1.format.operations import (
    ENTRIES,
    HEAD,
    INPUTS,
    NAME,
    OPERATIONS,
    OPERATIONS_A_SECTION,
    PARTS,
    PATCH,
    RECALL_VALUES,
    VALUES,
    VOCABULARY,
    WORDS,
    Choice,
    Flag,
    Kind,
    Number,
    Numbers,
    Parts,
    Read,
    State,
    Target,
    Tensor,
    Write,
)
from cpu1.format.tokens import BYTE_SYMBOLS, OLD_BYTE_SYMBOLS, separator

SECTIONS = ("embed", "trunk", "head")
BITS = {"two": 2, "four": 4, "eight": 8}


@dataclass(frozen=True)
class Slice:
    """`size` values of a register from `first` on; in JSON [register, first, size]."""

    register: str
    first: int
    size: int

    def part(self, first: int, size: int) -> "Slice":
        """A slice of this slice."""
        return Slice(self.register, self.first + first, size)

    @property
    def bits(self) -> int:
        """The set of its values."""
        return ((1 << self.size) - 1) << self.first

    def overlaps(self, other: "Slice") -> bool:
        """Whether the two share an element."""
        return self.register == other.register and bool(self.bits & other.bits)


@dataclass(frozen=True)
class Stored:
    """What is known of a tensor: its shape, the rows of each part of a ternary one, the bits of packed rows."""

    shape: tuple[int, ...]
    parts: tuple[int, ...] | None = None
    bits: int | None = None


@dataclass(frozen=True)
class Op:
    """One operation of a program. Slices are `Slice`, parts a tuple; optional tensors may be absent.

    Fields with a default are always there.
    """

    name: str
    fields: Mapping[str, Any]

    def __post_init__(self) -> None:
        if self.name in OPERATIONS:
            object.__setattr__(self, "fields", {**OPERATIONS[self.name].defaults, **self.fields})

    def __getitem__(self, field: str) -> Any:
        return self.fields[field]

    def get(self, field: str) -> Any:
        """The field, or None where it is absent."""
        return self.fields.get(field)


def has_words(program: Mapping[str, Any]) -> bool:
    """Whether steps of a program, as JSON, end behind words (`lookups.patches`); they have at most `patch` units."""
    return bool(program["embed"][0]["op"] == "embed_words")


@dataclass(frozen=True)
class Program:
    """A model's computation. Raises ValueError, which names the fault, for one that no runtime should run.

    `embed` (one operation) turns the units of a step into register x; `trunk` runs once a step and leaves register s;
    `head` turns s, and the bytes before, into the logits of the next step's units. Its last operation does that; those
    before it run once a unit, and look up what the last one adds.
    """

    level: str  # "byte" or "token": what a unit is
    patch: int  # units a step
    vocabulary: int
    width: int  # of x and s
    registers: Mapping[str, int]  # name -> values
    states: Mapping[str, int]  # name -> values that stay from step to step; of a cache, values that a step adds
    embed: tuple[Op, ...]
    trunk: tuple[Op, ...]
    head: tuple[Op, ...]

    def __post_init__(self) -> None:
        _check_header(self)
        for place, section, index, op in self.operations():
            _check_op(self, place, section, index, op)
        _check_states(self)
        _check_flow(self)
        if self.words:
            _require(self.patch == WORDS, f"program: patches of words have {WORDS} units at most, not {self.patch}")
            decodes = self.head[-1].name == "local_decode"
            _require(decodes, "program: patches of words need a decoder that writes byte by byte")
        memories = sum(op.name == "recall" for op in self.head)
        _require(memories <= 1, f"program: {memories} memories of the document; a stream has one")

    def operations(self) -> Iterator[tuple[str, str, int, Op]]:
        """Every operation: words that name its place, section, index in it, the operation."""
        for section in SECTIONS:
            for index, op in enumerate(getattr(self, section)):
                yield f"program: {section}[{index}] {op.name}", section, index, op

    @property
    def separator(self) -> int:
        """The unit between documents."""
        return separator(self.level, self.vocabulary)

    @property
    def words(self) -> bool:
        """Whether steps end behind words (`lookups.patches`), and have at most `patch` units."""
        return self.embed[0].name == "embed_words"

    @property
    def look_back(self) -> int:
        """How many units before the next one the head reads."""
        return self.head[-1].get("look_back") or 0

    @property
    def lookups(self) -> tuple[Op, ...]:
        """The operations of the head before its last."""
        return self.head[:-1]

    def packed_tensors(self) -> dict[str, Stored]:
        """The tensors of packed rows, whose bits only the program knows; raises ValueError where two uses differ."""
        found: dict[str, Stored] = {}
        for place, _, _, op in self.operations():
            for field, kind in OPERATIONS[op.name].tensors.items():
                if kind.packed:
                    tables = len(op.get("contexts") or (0,))
                    stored = Stored((tables * op["table_size"], -1), bits=BITS[op["bits"]])
                    same = found.setdefault(op[field], stored) == stored
                    _require(same, f"{place}: tensor {_short(op[field])} has another shape elsewhere")
        return found

    def tensor_names(self) -> set[str]:
        """The tensors that operations name."""
        return {op[f] for *_, op in self.operations() for f in OPERATIONS[op.name].tensors if op.get(f)}

    def ternary_tensors(self) -> dict[str, Stored]:
        """The ternary tensors, whose shapes stand in the program alone; raises ValueError where two uses differ."""
        found: dict[str, Stored] = {}
        for place, _, _, op in self.operations():
            for field, kind in OPERATIONS[op.name].tensors.items():
                if kind.ternary:
                    stored = Stored((op["out"].size, op["in"].size), op["parts"])
                    same = found.setdefault(op[field], stored) == stored
                    _require(same, f"{place}: tensor {_short(op[field])} has another shape elsewhere")
        return found

    def check_tensors(self, stored: Mapping[str, Stored]) -> None:
        """Raises ValueError unless every tensor that is named is there, of the kind and shape that it needs."""
        for place, _, _, op in self.operations():
            sizes = _sizes(self, place, op)
            for field, kind in OPERATIONS[op.name].tensors.items():
                if name := op.get(field):
                    _check_tensor(f"{place}: {field}: tensor {_short(name)}", op, kind, stored.get(name), sizes)

    def to_json(self) -> dict[str, Any]:
        """Plain values that `from_json` takes back."""
        plain = {name: getattr(self, name) for name in ("level", "patch", "vocabulary", "width")}
        sections = {name: [_plain(op) for op in getattr(self, name)] for name in SECTIONS}
        return {**plain, "registers": dict(self.registers), "states": dict(self.states), **sections}

    @classmethod
    def from_json(cls, value: Any) -> "Program":
        """Reads what `to_json` gave; raises ValueError for anything else."""
        known = set(cls.__dataclass_fields__)
        if not isinstance(value, dict):
            raise ValueError("program: not an object")
        _check_fields("program", set(value), known, known)
        for name in SECTIONS:
            _require(isinstance(value[name], list), f"program: {name} is not a list")
        sections = {name: tuple(_read_op(name, i, op) for i, op in enumerate(value[name])) for name in SECTIONS}
        return cls(**{**value, **sections})


# --------------------------------------------------------------------------------------------- JSON


def _plain(op: Op) -> dict[str, Any]:
    """Fields at their defaults are left out: readers from before those fields know what is meant."""
    defaults = OPERATIONS[op.name].defaults
    shown = {name: value for name, value in op.fields.items() if name not in defaults or value != defaults[name]}
    return {"op": op.name, **{name: _plain_field(value) for name, value in shown.items()}}


def _plain_field(value: Any) -> Any:
    if isinstance(value, Slice):
        return [value.register, value.first, value.size]
    return list(value) if isinstance(value, tuple) else value


def _read_op(section: str, index: int, value: Any) -> Op:
    place = f"program: {section}[{index}]"
    if not isinstance(value, dict) or not isinstance(value.get("op"), str):
        raise ValueError(f"{place} names no operation")
    name = value["op"]
    _require(name in OPERATIONS, f"{place}: unknown operation {_short(name)}")
    kinds = OPERATIONS[name].fields
    fields = {field: item for field, item in value.items() if field != "op"}
    _check_fields(f"{place} {name}", set(fields), set(kinds), OPERATIONS[name].needed)
    return Op(name, {f: _read_field(f"{place} {name}: {f}", kinds[f], v) for f, v in fields.items()})


def _read_field(place: str, kind: Kind, value: Any) -> Any:
    """Lists become slices and parts; all else stays as it is, for the program to judge."""
    if isinstance(kind, (Read, Write)):
        if not isinstance(value, list) or len(value) != 3:
            raise ValueError(f"{place} is not [register, first, size]")
        return Slice(*value)
    if isinstance(kind, (Parts, Numbers)):
        _require(isinstance(value, list), f"{place} is not a list")
        return tuple(value)
    return value


# ------------------------------------------------------------------------------- validation: fields


def _check_header(program: Program) -> None:
    _require(program.level in ("byte", "token"), f"program: level {_short(program.level)} is neither byte nor token")
    for name, high in (("patch", PATCH), ("vocabulary", VOCABULARY), ("width", INPUTS)):
        _whole(f"program: {name}", getattr(program, name), 1, high)
    if program.level == "byte":
        symbols = program.vocabulary
        _require(symbols in (BYTE_SYMBOLS, OLD_BYTE_SYMBOLS), f"program: {symbols} symbols of bytes; there are 257")
    else:
        _require(program.patch == 1, f"program: a patch of {program.patch} tokens; a step reads one")
    for kind in ("registers", "states"):
        _check_entries(kind, getattr(program, kind))
    for name in ("x", "s"):
        _require(program.registers.get(name) == program.width, f"program: register {name} must have the width")
    for section, most in zip(SECTIONS, (1, OPERATIONS_A_SECTION, HEAD), strict=True):
        count = len(getattr(program, section))
        _require(1 <= count <= most, f"program: {section} has {count} operations; it must have 1 to {most}")


def _check_entries(kind: str, sizes: Any) -> None:
    if not isinstance(sizes, Mapping):
        raise ValueError(f"program: {kind} is not an object")
    _require(len(sizes) <= ENTRIES[kind], f"program: {len(sizes)} {kind}; at most {ENTRIES[kind]}")
    for name, size in sizes.items():
        _check_name(f"program: {kind}", name)
        _whole(f"program: {kind}: size of {_short(name)}", size, 1, VALUES[kind])
    total = sum(sizes.values())
    _require(total <= VALUES[kind], f"program: {kind} of {total} values together; at most {VALUES[kind]}")


def _check_op(program: Program, place: str, section: str, index: int, op: Op) -> None:
    _require(op.name in OPERATIONS, f"{place}: unknown operation")
    operation = OPERATIONS[op.name]
    _require(operation.section == section, f"{place} is in {section}; it belongs in {operation.section}")
    _require(operation.level in (None, program.level), f"{place} is not for a {program.level} model")
    _check_fields(place, set(op.fields), set(operation.fields), operation.needed)
    for field, kind in operation.fields.items():
        if field in op.fields:
            _check_field(program, f"{place}: {field}", index, kind, op[field])
    if section == "embed":
        _require(op["out"] == Slice("x", 0, program.width), f"{place}: out is not the whole of register x")
    if section == "head":
        last = index == len(program.head) - 1
        _require(("in" in operation.fields) == last, f"{place}: the last operation of the head, and it alone, reads s")
        if last:
            _require(op["in"] == Slice("s", 0, program.width), f"{place}: in is not the whole of register s")
    sizes = _sizes(program, place, op)
    if op.name == "recall":
        values = sizes["K+1"] * program.vocabulary * sizes["w"]
        _require(values <= RECALL_VALUES, f"{place}: the decoder is too wide for a memory")


def _check_field(program: Program, place: str, index: int, kind: Kind, value: Any) -> None:
    """One field by itself: its type and limits."""
    match kind:
        case Read() | Write():
            _require(isinstance(value, Slice), f"{place} is not a slice")
            known = isinstance(value.register, str) and value.register in program.registers
            _require(known, f"{place}: no register {_short(value.register)}")
            size = program.registers[value.register]
            _whole(f"{place}: first value", value.first, 0, size - 1)
            _whole(f"{place}: size", value.size, 1, size - value.first)
        case State():
            _require(isinstance(value, str) and value in program.states, f"{place}: no state {_short(value)}")
        case Tensor():
            _check_name(place, value)
        case Parts():
            fits = isinstance(value, tuple) and 1 <= len(value) <= PARTS
            _require(fits, f"{place} is not a list of 1 to {PARTS} numbers of rows")
            for part in value:
                _whole(place, part, 1, VALUES["registers"])
        case Number():
            _whole(place, value, kind.low, kind.high)
            _require(value % kind.step == 0, f"{place} is {value}; it must be a multiple of {kind.step}")
            _require(not kind.power or value & (value - 1) == 0, f"{place} is {value}; it must be a power of two")
        case Numbers():
            fits = isinstance(value, tuple) and 1 <= len(value) <= kind.most
            _require(fits, f"{place} is not a list of 1 to {kind.most} numbers")
            for number in value:
                _whole(place, number, kind.low, kind.high)
            _require(len(set(value)) == len(value), f"{place} names a number twice")
        case Flag():
            _require(isinstance(value, bool), f"{place} is {_short(value)}; it must be true or false")
        case Choice():
            _require(value in kind.words, f"{place} is {_short(value)}; it must be one of {', '.join(kind.words)}")
        case Target():
            _whole(place, value, index + 1, len(program.trunk) - 1)


# -------------------------------------------------------------------------------- validation: sizes


def _sizes(program: Program, place: str, op: Op) -> dict[str, int]:
    """The letters of an operation as far as slices and numbers tell; raises ValueError where they disagree."""
    sizes = {"P": program.patch, "V": program.vocabulary}
    for field, kind in OPERATIONS[op.name].fields.items():
        match kind:
            case Number():
                sizes[field] = op[field]
            case Numbers():
                sizes[kind.count], sizes[f"{kind.count}+1"] = len(op[field]), len(op[field]) + 1
            case Read() | Write() if field in op.fields:
                _solve(f"{place}: {field}", kind.size, op[field].size, sizes)
            case State():
                _solve(f"{place}: {field}", kind.size, program.states[op[field]], sizes)
            case Parts():
                _solve(f"{place}: {field}", kind.size, sum(op[field]), sizes)
    _require(sizes.get("k", 1) <= INPUTS, f"{place} has {sizes.get('k')} inputs; at most {INPUTS}")
    return sizes


def _solve(place: str, product: str, value: int, sizes: dict[str, int]) -> None:
    """Finds the letter of a product that has no value yet, or checks the product."""
    known, unknown = 1, None
    for factor in product.split("*"):
        if factor.isdigit() or factor in sizes:
            known *= int(factor) if factor.isdigit() else sizes[factor]
        else:
            unknown = factor
    if unknown and value >= known and value % known == 0:
        sizes[unknown] = value // known
    elif unknown or value != known:
        given = ", ".join(f"{letter} = {sizes[letter]}" for letter in product.split("*") if letter in sizes)
        raise ValueError(f"{place} has size {value}; it must be {product}" + (f" with {given}" if given else ""))


def _check_tensor(place: str, op: Op, kind: Tensor, stored: Stored | None, sizes: dict[str, int]) -> None:
    if stored is None:
        raise ValueError(f"{place} is not in the file")
    _require((stored.parts is not None) == kind.ternary, f"{place} is {'not ' if kind.ternary else ''}ternary")
    _require((stored.bits is not None) == kind.packed, f"{place} is {'not ' if kind.packed else ''}packed")
    if kind.ternary:
        _require(stored.parts == op["parts"], f"{place} has other parts")
    wanted = f"({', '.join(kind.shape)})"
    _require(len(stored.shape) == len(kind.shape), f"{place} has shape {list(stored.shape)}; it must be {wanted}")
    for dimension, (size, product) in enumerate(zip(stored.shape, kind.shape, strict=True)):
        _solve(f"{place}: dimension {dimension} of {wanted}", product, size, sizes)


# --------------------------------------------------------------------------------- validation: flow


def _check_states(program: Program) -> None:
    owners: dict[str, str] = {}
    for place, _, _, op in program.operations():
        for state in (op[field] for field, kind in OPERATIONS[op.name].fields.items() if isinstance(kind, State)):
            if state in owners:
                raise ValueError(f"{place}: state {_short(state)} belongs to {owners[state]} already")
            owners[state] = place
    for state in program.states:
        _require(state in owners, f"program: no operation has the state {_short(state)}")


def _check_flow(program: Program) -> None:
    """What is read was written earlier in the same step, also where a gate skips; each register is written whole.

    So no value of another step, stream or row is ever seen, and no register is larger than what tensors write.
    """
    written, ever = dict.fromkeys(program.registers, 0), dict.fromkeys(program.registers, 0)
    skips: dict[int, list[dict[str, int]]] = {}  # what was written at the gates that skip to an operation
    for place, section, index, op in program.operations():
        if section == "head" and index == 0:  # its registers are those of a unit, not of the step
            written = {name: bits if name == "s" else 0 for name, bits in written.items()}
        for before in skips.get(index, ()) if section == "trunk" else ():
            written = {name: bits & before[name] for name, bits in written.items()}
        reads, writes = _reads_and_writes(place, op)
        for part in reads:
            missing = part.bits & ~written[part.register]
            _require(not missing, f"{place} reads what no operation has written of register {_short(part.register)}")
        for part in writes:
            written[part.register] |= part.bits
            ever[part.register] |= part.bits
        for field, kind in OPERATIONS[op.name].fields.items():
            if isinstance(kind, Target):
                skips.setdefault(op[field], []).append(dict(written))
    for name, size in program.registers.items():
        _require(ever[name] == (1 << size) - 1, f"program: register {_short(name)} is not written whole")


def _reads_and_writes(place: str, op: Op) -> tuple[list[Slice], list[Slice]]:
    """The slices an operation reads and writes, which must not overlap; what it adds to is in both."""
    kinds = OPERATIONS[op.name].fields
    reads = [op[field] for field, kind in kinds.items() if isinstance(kind, Read) and field in op.fields]
    writes = [op[field] for field, kind in kinds.items() if isinstance(kind, Write)]
    _require(not any(a.overlaps(b) for a in reads for b in writes), f"{place} overwrites what it reads")
    added_to = [op[field] for field, kind in kinds.items() if isinstance(kind, Write) and _adds(op, kind)]
    return reads + added_to, writes


def _adds(op: Op, kind: Write) -> bool:
    return bool(op[kind.added]) if isinstance(kind.added, str) else kind.added


# ------------------------------------------------------------------------------------------ messages


def _require(holds: bool, message: str) -> None:
    if not holds:
        raise ValueError(message)


def _whole(place: str, value: Any, low: int, high: int) -> None:
    fits = isinstance(value, int) and not isinstance(value, bool) and low <= value <= high
    _require(fits, f"{place} is {_short(value)}; it must be a whole number from {low} to {high}")


def _check_name(place: str, name: Any) -> None:
    fits = isinstance(name, str) and 0 < len(name) <= NAME and name.isprintable()
    _require(fits, f"{place}: {_short(name)} is not a name of 1 to {NAME} printable characters")


def _check_fields(place: str, found: set[str], known: set[str], needed: set[str]) -> None:
    for field in sorted(found - known):
        raise ValueError(f"{place}: unknown field {_short(field)}")
    for field in sorted(needed - found):
        raise ValueError(f"{place}: field {field} is missing")


def _short(value: Any) -> str:
    """A value for a message, cut where a hostile one is long."""
    text = json.dumps(value, default=str)
    return text if len(text) <= 60 else text[:57] + "..."
