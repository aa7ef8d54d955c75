"""The closed set of operations: what a packed model may be made of, in one table.

`docs/operations.md` describes each. An operation reads and writes slices of registers, names tensors of the file, and
may own one state. The sizes of slices and the shapes of tensors are products of letters and numbers; a letter has one
value within one operation (P and V are the program's patch and vocabulary), so that all validation follows from the
table.

The native build makes its table from this file (native/engine/format/generate.py), so nothing but the standard library
may be imported. A field's name has one kind in all operations: the engine has a member for each name. An embedding
writes its `out`, a head reads its `in`; a ternary tensor turns `in` into `out` and needs `parts`.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

# Most inputs of a product (the letter k). With weights of two bits masked in place (at most 2 << 6) and activations of
# at most 127, a sum of this many products stays below 127 * 128 * 65536 < 2^31.
INPUTS = 65_536
VOCABULARY = 65_536
PATCH = 16
WORDS = 8  # of patches that end behind words, see lookups.patches
OPERATIONS_A_SECTION = 4096
PARTS = 256
NAME = 256  # characters
ENTRIES = {"registers": 256, "states": 4096}
VALUES = {"registers": 1 << 20, "states": 1 << 22}  # of all together
LOOK_BACK = 8  # units before the next one that a head may read
HEAD = 8  # operations of the head
RECALL_VALUES = 1 << 26  # of the vectors that a memory's bytes and contexts select
CONTEXTS, LAST_CONTEXT = 16, 10  # of a lookup, see lookups.contexts


@dataclass(frozen=True)
class Read:
    """A slice that is read."""

    size: str
    optional: bool = False


@dataclass(frozen=True)
class Write:
    """A slice that is written. What is `added` to is read as well: always, or where the flag of that name is set."""

    size: str
    added: bool | str = False


@dataclass(frozen=True)
class State:
    """The name of a state: `size` values that stay from step to step, or, of a cache, that each step adds."""

    size: str


@dataclass(frozen=True)
class Tensor:
    """The name of a tensor. `packed` ones hold rows of whole numbers of the operation's `bits`, with a scale each."""

    shape: tuple[str, ...]
    ternary: bool = False
    optional: bool = False
    packed: bool = False


@dataclass(frozen=True)
class Parts:
    """The rows of each of the matrices stacked in a ternary tensor."""

    size: str


@dataclass(frozen=True)
class Number:
    """A whole number from `low` to `high`, a multiple of `step`; its field's name is a letter for sizes.

    A field that older files lack has a `default`, and is left out of a file where it has that value. So with flags and
    choices.
    """

    low: int
    high: int
    step: int = 1
    default: int | None = None
    power: bool = False  # a power of two


@dataclass(frozen=True)
class Numbers:
    """A list of different whole numbers from `low` to `high`. How many they are is the letter `count`, at most `most`.

    One more than that is the letter with "+1" behind it.
    """

    low: int
    high: int
    count: str
    most: int


@dataclass(frozen=True)
class Flag:
    """true or false."""

    default: bool | None = None


@dataclass(frozen=True)
class Choice:
    """One of a few words."""

    words: tuple[str, ...]
    default: str | None = None


@dataclass(frozen=True)
class Target:
    """The index of a later operation of the trunk."""


Kind = Read | Write | State | Tensor | Parts | Number | Numbers | Flag | Choice | Target


@dataclass(frozen=True)
class Operation:
    """One of the closed set: its section of a program, and its fields in the order in which sizes are found."""

    section: str
    fields: Mapping[str, Kind]
    level: str | None = None  # of the units it reads, if it reads any

    @property
    def needed(self) -> set[str]:
        """The fields that must be there: all but what is optional and what has a default."""
        optional = {name for name, kind in self.fields.items() if getattr(kind, "optional", False)}
        return set(self.fields) - optional - set(self.defaults)

    @property
    def defaults(self) -> dict[str, Any]:
        """The values of fields that may be left out."""
        defaults = {name: getattr(kind, "default", None) for name, kind in self.fields.items()}
        return {name: value for name, value in defaults.items() if value is not None}

    @property
    def tensors(self) -> dict[str, Tensor]:
        """The fields that name tensors."""
        return {name: kind for name, kind in self.fields.items() if isinstance(kind, Tensor)}


OPERATIONS: dict[str, Operation] = {
    "embed_bytes": Operation(
        "embed",
        {
            "out": Write("P*q"),
            "table": Tensor(("V", "q")),
            "start": Tensor(("P*q",)),
            "taps": Tensor(("P", "q"), optional=True),
            "bias": Tensor(("q",), optional=True),
        },
        level="byte",
    ),
    "embed_words": Operation(
        "embed",
        {
            "table_size": Number(16, 65_536, power=True),
            "bits": Choice(("two", "four", "eight")),
            "out": Write("P*q"),
            "table": Tensor(("V", "q")),
            "start": Tensor(("P*q",)),
            "rows": Tensor(("table_size", "v"), packed=True),
            "weight": Tensor(("P*q", "v")),
        },
        level="byte",
    ),
    "embed_token": Operation("embed", {"out": Write("d"), "table": Tensor(("V", "d"))}, level="token"),
    "rms_norm": Operation("trunk", {"in": Read("n"), "out": Write("n"), "gain": Tensor(("n",), optional=True)}),
    "ternary_linear": Operation(
        "trunk",
        {
            "in": Read("k"),
            "out": Write("n"),
            "parts": Parts("n"),
            "weight": Tensor(("n", "k"), ternary=True),
            "gain": Tensor(("k",), optional=True),
        },
    ),
    "dense_linear": Operation(
        "trunk",
        {
            "in": Read("k"),
            "out": Write("n", added="accumulate"),
            "weight": Tensor(("n", "k")),
            "bias": Tensor(("n",), optional=True),
            "activation": Choice(("none", "silu", "relu2")),
            "accumulate": Flag(),
        },
    ),
    "gate_scan": Operation("trunk", {"in": Read("2*d"), "out": Write("d"), "state": State("d")}),
    "silu_mul": Operation("trunk", {"a": Read("n"), "b": Read("n"), "out": Write("n")}),
    "attend": Operation(
        "trunk",
        {
            "heads": Number(1, 65_536),
            "head_size": Number(2, 65_536, step=2),
            "segment": Number(0, 1 << 30),
            "in": Read("3*heads*head_size"),
            "out": Write("heads*head_size"),
            "state": State("2*heads*head_size"),
        },
    ),
    "leaky_scan": Operation(
        "trunk", {"in": Read("w"), "out": Write("w"), "decay": Tensor(("w",)), "state": State("w")}
    ),
    "delete_gate": Operation(
        "trunk",
        {
            "in": Read("d"),
            "up": Tensor(("h", "d")),
            "up_bias": Tensor(("h",)),
            "down": Tensor(("1", "h")),
            "down_bias": Tensor(("1",)),
            "skip_to": Target(),
        },
    ),
    "add": Operation("trunk", {"in": Read("n"), "out": Write("n", added=True)}),
    "table_rows": Operation(
        "head",
        {
            "contexts": Numbers(1, LAST_CONTEXT, "K", CONTEXTS),
            "table_size": Number(16, 65_536, power=True),
            "bits": Choice(("two", "four", "eight")),
            "out": Write("w", added="accumulate"),
            "rows": Tensor(("K*table_size", "v"), packed=True),
            "weight": Tensor(("w", "K*v")),
            "accumulate": Flag(),
        },
        level="byte",
    ),
    "recall": Operation(
        "head",
        {
            "contexts": Numbers(1, LAST_CONTEXT, "K", CONTEXTS),
            "memory_size": Number(16, 65_536, power=True),
            "history": Number(256, 65_536, power=True),
            "match": Number(1, 8),
            "out": Write("w", added="accumulate"),
            "table": Tensor(("V", "q")),
            "first": Tensor(("K+1*w", "q")),
            "second": Tensor(("K+1*w", "q")),
            "first_gains": Tensor(("K+1", "32", "w")),
            "second_gains": Tensor(("K+1", "32", "w")),
            "offsets": Tensor(("K+1", "32", "w")),
            "accumulate": Flag(),
        },
        level="byte",
    ),
    "local_decode": Operation(
        "head",
        {
            "look_back": Number(1, LOOK_BACK, default=3),
            "in": Read("d"),
            "added": Read("w", optional=True),
            "slots": Tensor(("P*w", "d")),
            "back": Tensor(("look_back", "V", "w")),
            "up": Tensor(("h", "w")),
            "up_bias": Tensor(("h",)),
            "down": Tensor(("w", "h")),
            "down_bias": Tensor(("w",)),
            "output": Tensor(("V", "w")),
            "output_bias": Tensor(("V",)),
        },
        level="byte",
    ),
    "patch_heads": Operation("head", {"in": Read("d"), "output": Tensor(("P*V", "d"))}),
}
