"""Every public function, method and class has a docstring, and every tensor module a legend.

Public is what has no leading underscore, in a class that has none either. These need no docstring of their own:

- dunder methods: the class says how it is made, called and compared;
- nested functions;
- bodies of a bare `...`: stubs of a protocol and overloads, which the class or the implementation describes;
- setters: the property's getter describes both;
- methods that override a documented method of a base class in the same module;
- fast forms of operations (`@fast_form_of`), which get the docstring of their reference.
"""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

import cpu1

SOURCE = Path(cpu1.__file__).parent
FILES = sorted(SOURCE.rglob("*.py"))

Function = ast.FunctionDef | ast.AsyncFunctionDef


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(SOURCE)))
def test_public_names_have_docstrings(path: Path) -> None:
    missing = list(undocumented(ast.parse(path.read_text(encoding="utf-8"))))
    assert not missing, f"{path.relative_to(SOURCE)}: no docstring in {', '.join(missing)}"


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(SOURCE)))
def test_modules_with_tensors_begin_with_a_legend_of_shapes(path: Path) -> None:
    module = ast.parse(path.read_text(encoding="utf-8"))
    if takes_tensors(module):
        assert "Shapes:" in (ast.get_docstring(module) or ""), f"{path.relative_to(SOURCE)}: no legend of shapes"


@pytest.mark.parametrize(
    ("source", "missing"),
    [
        ('"""M."""', []),
        ("x = 1", ["the module"]),
        ('"""M."""\ndef f(): return 1', ["f"]),
        ('"""M."""\ndef _f(): return 1', []),
        ('"""M."""\nclass C:\n    "C."\n    def m(self): return 1\n    def __len__(self): return 1', ["C.m"]),
        ('"""M."""\nclass C:\n    "C."\n    def m(self): ...', []),
        ('"""M."""\nclass B:\n    "B."\n    def m(self): "M."\nclass C(B):\n    "C."\n    def m(self): return 1', []),
        ('"""M."""\nclass _C:\n    def m(self): return 1', []),
        ('"""M."""\n@fast_form_of(g)\ndef f(): return 1', []),
    ],
)
def test_the_check_itself(source: str, missing: list[str]) -> None:
    assert list(undocumented(ast.parse(source))) == missing


def undocumented(module: ast.Module) -> Iterator[str]:
    """The public names of a module without a docstring."""
    if not ast.get_docstring(module):
        yield "the module"
    classes = {node.name: node for node in module.body if isinstance(node, ast.ClassDef)}
    for node in module.body:
        if isinstance(node, Function) and not is_exempt(node):
            yield node.name
        elif isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
            if not ast.get_docstring(node):
                yield node.name
            inherited = inherited_docs(node, classes)
            methods = (method for method in node.body if isinstance(method, Function))
            yield from (f"{node.name}.{m.name}" for m in methods if not is_exempt(m) and m.name not in inherited)


def inherited_docs(node: ast.ClassDef, classes: dict[str, ast.ClassDef]) -> set[str]:
    """The methods that a base class in the same module documents."""
    names: set[str] = set()
    for base in node.bases:
        if isinstance(base, ast.Name) and base.id in classes:
            parent = classes[base.id]
            names |= {m.name for m in parent.body if isinstance(m, Function) and ast.get_docstring(m)}
            names |= inherited_docs(parent, classes)
    return names


def is_exempt(node: Function) -> bool:
    """Whether a function has a docstring or needs none of its own, see the head of this file."""
    stub = len(node.body) == 1 and isinstance(node.body[0], ast.Expr) and ast.unparse(node.body[0]) == "..."
    decorators = [ast.unparse(decorator) for decorator in node.decorator_list]
    described = any(d.endswith(".setter") or d.startswith("fast_form_of(") for d in decorators)
    return bool(node.name.startswith("_") or stub or described or ast.get_docstring(node))


def takes_tensors(module: ast.Module) -> bool:
    """Whether a function of the module takes or returns a Tensor of torch, so that there are shapes to state."""
    imported = [node for node in ast.walk(module) if isinstance(node, ast.ImportFrom) and node.module == "torch"]
    if not any(alias.name == "Tensor" for node in imported for alias in node.names):
        return False
    functions = [node for node in ast.walk(module) if isinstance(node, Function)]
    hints = [node.returns for node in functions] + [arg.annotation for node in functions for arg in node.args.args]
    names = (name for hint in hints if hint for name in ast.walk(hint) if isinstance(name, ast.Name))
    return any(name.id == "Tensor" for name in names)
