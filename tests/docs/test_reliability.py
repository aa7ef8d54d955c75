"""docs/reliability.md names tests that are there."""

import ast
import re

import pytest
from helpers.pages import ROOT, read

NAMED = re.findall(r"`(tests/[\w/]+\.py)::(\w+)`", read(ROOT / "docs" / "reliability.md"))


def test_every_promise_names_a_test():
    page = read(ROOT / "docs" / "reliability.md").partition("## How often")[0]
    for promise in re.findall(r"^- \*\*.*?(?=^- |^#|^\n|\Z)", page, re.MULTILINE | re.DOTALL):
        assert re.search(r"`tests/[\w/]+\.py::\w+`", promise), promise


@pytest.mark.parametrize(("path", "test"), NAMED, ids=lambda part: part)
def test_the_tests_exist(path, test):
    tree = ast.parse((ROOT / path).read_text(encoding="utf-8"))
    assert test in {node.name for node in tree.body if isinstance(node, ast.FunctionDef)}
