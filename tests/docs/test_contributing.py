"""CONTRIBUTING.md: each list of files is followed in a copy of the project, exactly as it says.

Operations and instruction sets: tests/native/test_extending_engine.py.
"""

import mailbox
import os
import re
import shutil
import subprocess
import sys
from email.message import EmailMessage
from pathlib import Path

import pytest
from helpers.ingredient import LINE, STEPS
from helpers.pages import ROOT, read

PAGE = read(ROOT / "CONTRIBUTING.md")
WRITTEN = {"src/cpu1/model/ingredients/self_gated.py", "src/cpu1/data/mbox.py"}  # by whoever follows the list
WRITTEN |= {"native/engine/kernels/kernels_dummy.cpp"}

MBOX = '''
import mailbox
from collections.abc import Iterator
from pathlib import Path

from cpu1.data.paths import find_files, stamps


class MboxSource:
    """The mails of `mbox:PATH`, each a document."""

    def __init__(self, name: str, field: str) -> None:
        self.path = name.removeprefix("mbox:")

    @staticmethod
    def claims(name: str) -> bool:
        return name.startswith("mbox:")

    @property
    def title(self) -> str:
        return Path(self.path).stem

    def identity(self) -> list[object]:
        return ["mbox", *stamps(find_files(self.path))]

    def documents(self) -> Iterator[bytes]:
        for mail in mailbox.mbox(self.path):
            yield mail.get_payload(decode=True)
'''
TABLE = """

@table("my-table")
def my_table() -> Table:
    return Table(["run", "is"], "ll", [["04", "ternary"]])
"""


def section(title: str) -> str:
    return PAGE.split(f"\n## {title}\n")[1].split("\n## ")[0]


def listed(title: str) -> list[str]:
    """The files with which the steps of a list begin."""
    return re.findall(r"^\d\. `([\w/.-]+)`", section(title), re.MULTILINE)


def run(folder: Path, *words: str | Path, paths: list[Path]) -> subprocess.CompletedProcess[str]:
    """Python without the installed package's import hook, so that only the copy counts."""
    (folder / "sitecustomize.py").write_text(
        "import sys\nsys.meta_path[:] = [f for f in sys.meta_path if f.__module__.startswith('_frozen_importlib')]\n"
    )
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(map(str, [folder, *paths]))}
    environment["CPU1_CACHE"] = str(folder / "cache")
    return subprocess.run(
        [sys.executable, *words], cwd=folder, env=environment, capture_output=True, text=True, check=False
    )


def copied(folder: Path, *names: str) -> None:
    for name in names:
        source = ROOT / name
        if source.is_dir():
            shutil.copytree(source, folder / name, ignore=shutil.ignore_patterns("__pycache__", "*.so"))
        else:
            shutil.copy(source, folder / name)


def test_every_file_that_it_names_is_there() -> None:
    named = set(re.findall(r"`((?:src|native|docs|tests)/[\w/.-]+)`", PAGE))
    assert named >= WRITTEN
    assert [name for name in named - WRITTEN if not (ROOT / name).exists()] == []


def test_an_ingredient_takes_the_files_that_the_readme_names() -> None:
    assert STEPS
    assert LINE
    folder = STEPS["folder"]
    ladder = "src/cpu1/model/ladder.py"
    assert listed("A new ingredient") == [f"{folder}/{STEPS['file']}", f"{folder}/__init__.py", ladder]


def test_a_source_of_text(tmp_path: Path) -> None:
    module, sources = listed("A new source of text")
    copied(tmp_path, "src")
    (tmp_path / module).write_text(MBOX)
    text = (tmp_path / sources).read_text()
    assert text.count("HubSource, PathSource)") == 1
    text = text.replace("HubSource, PathSource)", "HubSource, MboxSource, PathSource)")
    (tmp_path / sources).write_text(
        text.replace("\nfrom cpu1.data.paths", "\nfrom cpu1.data.mbox import MboxSource\nfrom cpu1.data.paths")
    )
    box = mailbox.mbox(tmp_path / "letters.mbox")
    for number in range(300):
        mail = EmailMessage()
        mail["Subject"] = f"Letter {number}"
        mail.set_content(f"Dear friend, this is letter {number}, {number * number} words long.\n" * 3)
        box.add(mail)
    box.flush()
    done = run(tmp_path, "-m", "cpu1", "data", f"mbox:{tmp_path / 'letters.mbox'}", paths=[tmp_path / "src"])
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("letters  sha256 ")
    assert sum(map(int, re.findall(r"(\d+) documents", done.stdout))) == 300


@pytest.mark.slow
def test_a_table(tmp_path: Path) -> None:
    (module,) = listed("A new table in the docs")
    copied(tmp_path, "src", "docs", "results", "texts", "README.md")
    with (tmp_path / module).open("a") as file:
        file.write(TABLE)
    page = tmp_path / "docs" / "glossary.md"
    lines = re.findall(r"`(<!-- .*?-->)`", section("A new table in the docs"))
    page.write_text(page.read_text() + "\n" + "\n".join(lines) + "\n")

    def update(*words: str) -> subprocess.CompletedProcess[str]:
        return run(tmp_path, "docs/update.py", *words, paths=[tmp_path / "src", tmp_path / "docs"])

    stale = update("--check")
    assert (stale.returncode, stale.stdout) == (1, "docs/glossary.md is not current: run python docs/update.py\n")
    assert update().returncode == 0
    assert "| run | is |\n| :-- | :-- |\n| 04 | ternary |\n" in page.read_text()
    assert update("--check").returncode == 0
