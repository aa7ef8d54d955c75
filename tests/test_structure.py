"""The layout of the source: imports go one way, nothing goes in circles, and torch stays below the wall."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

SOURCE = Path(__file__).parents[1] / "src"

# From the ground up. A package imports from those to its left only.
LAYERS = [
    ("errors", "files", "records", "cluster", "format", "data", "lookups", "runtime", "messages", "judging", "corpora",
     "completing", "server"),
    ("device", "console", "ops", "model", "runs", "teachers", "evaluation", "training", "adapting", "report",
     "study", "publishing", "cli"),
]  # fmt: skip
ABOVE_THE_WALL, BELOW = LAYERS
ORDER = (*ABOVE_THE_WALL, *BELOW)
# What users run without torch: checks of packed models, and reading a text.
TORCH_FREE_BELOW = ("cpu1.evaluation.language", "cpu1.adapting.text", "cpu1.adapting.measure", "cpu1.adapting.reading",
                    "cpu1.adapting.names")  # fmt: skip
TORCH = {"torch", "triton"}


def modules(source: Path = SOURCE) -> dict[str, Path]:
    names = {}
    for path in (source / "cpu1").rglob("*.py"):
        parts = path.relative_to(source).with_suffix("").parts
        names[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return names


def imports(path: Path) -> Iterator[tuple[str, str | None]]:
    """(module, name) of every import in a file, wherever it is: also in functions and under TYPE_CHECKING."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from ((alias.name, None) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: a relative import"
            yield from ((node.module or "", alias.name) for alias in node.names)


def graph(source: Path = SOURCE) -> dict[str, set[str]]:
    """The modules of the package that each module imports."""
    known = modules(source)
    arrows = {}
    for module, path in known.items():
        targets = {f"{base}.{name}" if f"{base}.{name}" in known else base for base, name in imports(path)}
        arrows[module] = (targets & known.keys()) - {module}
    return arrows


def circle(arrows: dict[str, set[str]]) -> list[str] | None:
    """A path of imports that comes back to where it began, or None."""
    done: set[str] = set()

    def visit(module: str, path: list[str]) -> list[str] | None:
        if module in path:
            return [*path[path.index(module) :], module]
        if module in done:
            return None
        for target in sorted(arrows.get(module, ())):
            if found := visit(target, [*path, module]):
                return found
        done.add(module)
        return None

    return next((found for module in sorted(arrows) if (found := visit(module, []))), None)


def package(module: str) -> str | None:
    """The first name below `cpu1`; None for `cpu1` itself and its `__main__`, the doors of the whole."""
    name = module.partition(".")[2].partition(".")[0]
    return name if name in ORDER else None


def test_every_package_has_its_layer():
    here = {
        path.stem for path in (SOURCE / "cpu1").iterdir() if path.suffix == ".py" or (path / "__init__.py").exists()
    }
    assert here - {"__init__", "__main__"} == set(ORDER)


def test_no_imports_go_in_circles():
    assert circle(graph()) is None


def test_a_circle_would_be_found(tmp_path):
    (tmp_path / "cpu1").mkdir()
    (tmp_path / "cpu1" / "__init__.py").write_text("")
    (tmp_path / "cpu1" / "a.py").write_text("from cpu1 import b\n")
    (tmp_path / "cpu1" / "b.py").write_text(
        "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from cpu1.a import x\n"
    )
    assert circle(graph(tmp_path)) == ["cpu1.a", "cpu1.b", "cpu1.a"]


def test_every_import_points_to_a_layer_below():
    wrong = [
        f"{module} imports {target}"
        for module, targets in graph().items()
        for target in targets
        if (here := package(module)) and ((there := package(target)) is None or ORDER.index(there) > ORDER.index(here))
    ]
    assert not wrong


def test_the_documentation_draws_the_layers():
    """docs/architecture.md: who is on which line, and on which side of the wall."""
    page = (SOURCE.parent / "docs" / "architecture.md").read_text(encoding="utf-8")
    lines = page.partition("<!-- layers -->")[2].partition("<!-- /layers -->")[0].splitlines()
    wall = next(number for number, line in enumerate(lines) if "===" in line)
    drawn = {name: n for n, line in enumerate(lines) for name in re.findall(r"(\w+)(?:/|\.py)", line)}
    assert set(drawn) == set(ORDER)
    assert {name for name, n in drawn.items() if n < wall} == set(ABOVE_THE_WALL)
    wrong = [
        f"{module} imports {target}, which is not drawn above it"
        for module, targets in graph().items()
        for target in targets
        if (here := package(module)) and (there := package(target)) and here != there and drawn[there] >= drawn[here]
    ]
    assert not wrong
    described = re.findall(r"^- ((?:`\w+(?:/|\.py)`(?:, )?)+):", page, re.MULTILINE)
    assert {name for line in described for name in re.findall(r"(\w+)(?:/|\.py)", line)} == set(ORDER)


def test_no_torch_above_the_wall():
    free = [m for m in modules() if package(m) in ABOVE_THE_WALL or m.startswith(TORCH_FREE_BELOW)]
    assert len(free) > 20
    wrong = [
        f"{module} imports {base}"
        for module in free
        for base, name in imports(modules()[module])
        if base.partition(".")[0] in TORCH
        or (package(f"{base}.{name}") in BELOW and not module.startswith(TORCH_FREE_BELOW))
    ]
    assert not wrong


@pytest.mark.parametrize(
    "folder", sorted(p.name for p in Path(__file__).parent.iterdir() if p.is_dir() and p.name[0] not in "._")
)
def test_tests_mirror_the_source(folder):
    assert folder in (*ORDER, "helpers", "native", "bench", "docs", "examples", "fuzz", "texts", "web")
