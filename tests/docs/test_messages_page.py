"""The examples of docs/messages.md print what the page says."""

import re
import shutil
import subprocess
import sys

import pytest
from helpers.pages import ROOT, read

from cpu1.runtime import engine
from cpu1.runtime.default import default_model
from cpu1.runtime.model import Model

PAGE = read(ROOT / "docs" / "messages.md")
BLOCKS = re.findall(r"^    \$ (.*)\n((?:    (?!\$ ).*\n)*)", PAGE, re.MULTILINE)
SHELL = f'cpu1() {{ {sys.executable} -m cpu1 "$@"; }}\n'


@pytest.mark.skipif(not engine.available(), reason="installed without the native engine")
def test_the_examples_print_what_the_page_says(tmp_path):
    if Model(default_model()).arithmetic != "fma":
        pytest.skip("codes are of the arithmetic of AVX2 and NEON")
    (tmp_path / "examples").mkdir()
    shutil.copy(ROOT / "examples" / "messages.txt", tmp_path / "examples")
    assert len(BLOCKS) >= 7
    for line, expected in BLOCKS:
        done = subprocess.run(["bash", "-c", SHELL + line], cwd=tmp_path, capture_output=True, text=True, check=True)
        assert plain(done.stdout) == plain(re.sub(r"^    ", "", expected, flags=re.MULTILINE)), line


def plain(printed: str) -> str:
    """Without the size and the name of an adapter's file, which depend on the version of zlib."""
    return re.sub(r"(mine\.cpa: ).*", r"\1", printed)
