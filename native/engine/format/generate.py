"""Makes the engine's table of operations from the Python one: generate.py OPERATIONS.PY FOLDER.

Writes `operations_table.h` (limits, codes, a struct with a member for each field's name) and `operations_table.cpp`
(the table). The standard library is enough, since this runs in every build.
"""

import importlib.util
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

# Members that an operation of a program has besides its fields (format/program.h).
RESERVED = {"op", "code", "place", "sizes"}
# By kind of field: the type of its member, and the value before it is read.
MEMBERS = {
    "Read": ("Slice", ""),
    "Write": ("Slice", ""),
    "State": ("int", " = -1"),
    "Number": ("int64_t", " = 0"),
    "Flag": ("bool", " = false"),
    "Target": ("int64_t", " = 0"),
    "Parts": ("std::vector<int64_t>", ""),
    "Numbers": ("std::vector<int64_t>", ""),
    "Tensor": ("std::string", ""),
}


def load(path: Path) -> ModuleType:
    """The module in a file, without the package around it."""
    spec = importlib.util.spec_from_file_location("operations", path)
    assert spec is not None
    assert spec.loader is not None
    module = sys.modules["operations"] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def fields_of(table: ModuleType) -> Iterator[tuple[str, str, Any]]:
    """Every field: its operation, name and kind."""
    for operation, entry in table.OPERATIONS.items():
        for name, kind in entry.fields.items():
            yield operation, name, kind


def kind_of(kind: Any) -> str:
    return type(kind).__name__


def enum_of(field: str) -> str:
    """The C++ type of a choice: activation -> Activation."""
    return "".join(word.capitalize() for word in field.split("_"))


def member_of(name: str, kind: Any) -> tuple[str, str]:
    """Type and first value of a field's member."""
    return (enum_of(name), "{}") if kind_of(kind) == "Choice" else MEMBERS[kind_of(kind)]


def check(table: ModuleType) -> None:
    """Raises SystemExit where a name cannot be a member, or where two operations use it for different things."""
    members: dict[str, tuple[str, Any]] = {}
    for operation, name, kind in fields_of(table):
        words = getattr(kind, "words", ())
        for word in (name, *words):
            if not word.isidentifier():
                raise SystemExit(f"{operation}: {name}: {word!r} is not an identifier")
        if name in RESERVED:
            raise SystemExit(f"{operation}: the name {name!r} is taken")
        member = (member_of(name, kind)[0], words)
        if members.setdefault(name, member) != member:
            raise SystemExit(f"{operation}: {name} is of another kind in another operation")


def header(table: ModuleType) -> str:
    limits = {
        "most_inputs": table.INPUTS,
        "most_vocabulary": table.VOCABULARY,
        "most_patch": table.PATCH,
        "most_words": table.WORDS,
        "most_operations": table.OPERATIONS_A_SECTION,
        "most_parts": table.PARTS,
        "most_name": table.NAME,
        "most_registers": table.ENTRIES["registers"],
        "most_states": table.ENTRIES["states"],
        "most_register_values": table.VALUES["registers"],
        "most_state_values": table.VALUES["states"],
        "most_look_back": table.LOOK_BACK,
        "most_head": table.HEAD,
        "most_recall_values": table.RECALL_VALUES,
    }
    constants = [f"constexpr int64_t {name} = {value};" for name, value in limits.items()]
    members = {name: (member_of(name, kind), kind) for _, name, kind in fields_of(table)}
    choices = {name: kind.words for name, (_, kind) in members.items() if kind_of(kind) == "Choice"}
    enums = [f"enum class {enum_of(name)} {{ {', '.join(words)} }};" for name, words in choices.items()]
    # What a running step reads is kept together: names of tensors and lists come last.
    late = [name for name, (_, kind) in members.items() if kind_of(kind) in ("Tensor", "Parts", "Numbers")]
    order = [name for name in members if name not in late] + late
    lines = [f"    {members[name][0][0]} {name}{members[name][0][1]};" for name in order]
    return "\n".join(
        [
            "// Made from operations.py by generate.py; do not edit.",
            "#pragma once",
            "#include <stddef.h>",
            "#include <stdint.h>",
            "",
            "#include <string>",
            "#include <vector>",
            "",
            '#include "format/slice.h"',
            "",
            "namespace cpu1 {",
            "",
            *constants,
            "",
            f"enum class Code {{ {', '.join(table.OPERATIONS)} }};",
            f"constexpr size_t operation_count = {len(table.OPERATIONS)};",
            "",
            *enums,
            "",
            "// The fields of all operations; which of them mean something depends on the operation.",
            "struct Fields {",
            *lines,
            "};",
            "",
            "}  // namespace cpu1",
            "",
        ]
    )


def value(item: Any) -> str:
    """A Python value in C++."""
    if item is None:
        return "{}"
    if isinstance(item, bool):
        return str(item).lower()
    if isinstance(item, tuple):
        return "{" + ", ".join(value(part) for part in item) + "}"
    return f'"{item}"' if isinstance(item, str) else str(item)


def entry(name: str, kind: Any) -> str:
    """A line of the table."""
    to = f"&Fields::{name}"
    match kind_of(kind):
        case "Read":
            rest = [to, value(kind.size), value(kind.optional)]
        case "State" | "Parts":
            rest = [to, value(kind.size)]
        case "Write":
            flag = f"&Fields::{kind.added}" if isinstance(kind.added, str) else "nullptr"
            rest = [to, value(kind.size), value(kind.added is True), flag]
        case "Tensor":
            rest = [to, value(kind.shape), value(kind.ternary), value(kind.optional), value(kind.packed)]
        case "Number":
            rest = [to, value(kind.low), value(kind.high), value(kind.step), value(kind.default), value(kind.power)]
        case "Numbers":
            rest = [to, value(kind.low), value(kind.high), value(kind.count), value(kind.most)]
        case "Flag":
            rest = [to, value(kind.default)]
        case "Choice":
            setter = f"[](Fields &to, size_t word) {{ to.{name} = static_cast<{enum_of(name)}>(word); }}"
            rest = [setter, value(kind.words), value(kind.default)]
        case "Target":
            rest = [to]
        case other:
            raise SystemExit(f"{name}: fields of kind {other} are unknown")
    return f'            {{"{name}", {kind_of(kind)}{{{", ".join(rest)}}}}},'


def source(table: ModuleType) -> str:
    lines = []
    for name, operation in table.OPERATIONS.items():
        level = value(operation.level) if operation.level else "nullptr"
        lines += [f'        {{"{name}", "{operation.section}", {level}, {{']
        lines += [entry(field, kind) for field, kind in operation.fields.items()]
        lines += ["        }},"]
    return "\n".join(
        [
            "// Made from operations.py by generate.py; do not edit.",
            '#include "format/operations.h"',
            "",
            "namespace cpu1 {",
            "",
            "const std::vector<Operation> &operations() {",
            "    static const std::vector<Operation> table = {",
            *lines,
            "    };",
            "    return table;",
            "}",
            "",
            "}  // namespace cpu1",
            "",
        ]
    )


def main() -> None:
    path, folder = map(Path, sys.argv[1:])
    sys.dont_write_bytecode = True
    table = load(path)
    check(table)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "operations_table.h").write_text(header(table), encoding="utf-8")
    (folder / "operations_table.cpp").write_text(source(table), encoding="utf-8")


if __name__ == "__main__":
    main()
