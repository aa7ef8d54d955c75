"""The examples of some pages print what the page says."""

import re
import shutil
import subprocess
import sys

import pytest
from helpers.pages import ROOT, read

from cpu1.runtime import engine
from cpu1.runtime.default import default_model
from cpu1.runtime.model import Model

PAGES = {"messages": 7, "typing": 5, "judging": 4}  # with how many examples they have at least
SHELL = f'cpu1() {{ {sys.executable} -m cpu1 "$@"; }}\n'


@pytest.mark.skipif(not engine.available(), reason="installed without the native engine")
@pytest.mark.parametrize("page", PAGES)
def test_the_examples_print_what_the_page_says(page, tmp_path):
    if Model(default_model()).arithmetic != "fma":
        pytest.skip("the figures are of the arithmetic of AVX2 and NEON")
    (tmp_path / "examples").mkdir()
    shutil.copy(ROOT / "examples" / "messages.txt", tmp_path / "examples")
    examples = re.findall(r"^    \$ (.*)\n((?:    (?!\$ ).*\n)*)", read(ROOT / "docs" / f"{page}.md"), re.MULTILINE)
    assert len(examples) >= PAGES[page]
    for line, expected in examples:
        done = subprocess.run(["bash", "-c", SHELL + line], cwd=tmp_path, capture_output=True, text=True, check=True)
        assert plain(done.stdout) == plain(re.sub(r"^    ", "", expected, flags=re.MULTILINE)), line


def plain(printed: str) -> str:
    """Without the size and the name of an adapter's file, which depend on the version of zlib."""
    return re.sub(r"(mine\.cpa: ).*", r"\1", printed)
