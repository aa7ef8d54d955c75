"""The native source's own order: includes go one way, and every source file is built."""

import importlib.util
import re
from pathlib import Path
from types import ModuleType, SimpleNamespace

import pytest
from helpers.native_build import ROOT

from cpu1.format.operations import Choice, Flag, Number, Operation, Read

NATIVE = ROOT / "native"
ENGINE = NATIVE / "engine"
LAYERS = [
    "isa",
    "format",
    "kernels",
    "lookups",
    "learn",
    "run",
    "api",
    "tests",
]  # each may include those before it, and itself
MADE = {"operations_table.h", "engine_sets.inc"}  # by the build
SOURCES = sorted(path for ext in ("h", "cpp", "inl") for path in ENGINE.rglob(f"*.{ext}"))


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(ENGINE)))
def test_includes_go_one_way(path: Path) -> None:
    known = LAYERS[: LAYERS.index(path.parent.name) + 1]
    for name in re.findall(r'#include "([^"]+)"', path.read_text(encoding="utf-8")):
        if name not in MADE:
            assert name.split("/")[0] in known, f"{path.name} includes {name}"
            assert (ENGINE / name).exists() or (NATIVE / name).exists(), f"{path.name} includes {name}"


def test_the_kernels_need_nothing_of_the_format() -> None:
    for path in (ENGINE / "kernels").iterdir():
        assert '"format/' not in path.read_text(encoding="utf-8")


def test_every_source_is_built() -> None:
    """CMake finds kernels and test programs by their names; all other sources are in the list."""
    listed = (ENGINE / "CMakeLists.txt").read_text(encoding="utf-8")
    for path in ENGINE.rglob("*.cpp"):
        name = path.stem if path.parent.name == "tests" else str(path.relative_to(ENGINE))
        if not path.name.startswith("kernels_"):
            assert re.search(rf"[\s(]{re.escape(name)}[\s)]", listed), name


@pytest.fixture
def generate() -> ModuleType:
    spec = importlib.util.spec_from_file_location("generate", ENGINE / "format" / "generate.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize(
    ("first", "second", "words"),
    [
        ({"rate": Number(1, 2)}, {"rate": Flag()}, "b: rate is of another kind in another operation"),
        ({"how": Choice(("up", "down"))}, {"how": Choice(("down", "up"))}, "how is of another kind"),
        ({"in": Read("n")}, {"code": Read("n")}, "b: the name 'code' is taken"),
        ({"how": Choice(("up", "1st"))}, {}, "a: how: '1st' is not an identifier"),
    ],
)
def test_fields_that_could_not_be_members_are_refused(generate, first, second, words) -> None:
    table = SimpleNamespace(OPERATIONS={"a": Operation("trunk", first), "b": Operation("trunk", second)})
    with pytest.raises(SystemExit, match=re.escape(words)):
        generate.check(table)
