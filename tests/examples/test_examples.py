"""Each file of examples/, run as its own comment says."""

import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from helpers.pages import ROOT
from helpers.text import write_text

from cpu1.runtime import engine

EXAMPLES = ROOT / "examples"
native_only = pytest.mark.skipif(not engine.available(), reason="installed without the native engine")


def run(*words: str | Path, folder: Path = ROOT, **environment: str) -> str:
    """What a command prints; the test fails with its errors if it fails."""
    paths = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    done = subprocess.run(
        words,
        cwd=folder,
        env={**os.environ, "PATH": paths, **environment},
        capture_output=True,
        text=True,
        errors="replace",
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stdout


def test_every_example_has_a_test() -> None:
    tests = "".join(path.read_text(encoding="utf-8") for path in Path(__file__).parent.glob("test_*.py"))
    tested = set(re.findall(r"\b\w+\.(?:py|c|sh|lua)\b", tests))
    assert {path.name for path in EXAMPLES.iterdir() if path.suffix in (".py", ".c", ".sh", ".lua")} <= tested


def test_generate() -> None:
    printed = run(sys.executable, EXAMPLES / "generate.py", "The captain said")
    assert printed.startswith("The captain said")
    sense, shuffled = re.findall(r"^(\d+\.\d+) bits per byte: The cat", printed, re.MULTILINE)
    assert float(sense) < float(shuffled)


@native_only
def test_many_streams() -> None:
    printed = run(sys.executable, EXAMPLES / "many_streams.py")
    for prompt in ("The captain said", "In the morning", "She opened the door", "It is a truth"):
        assert re.search(rf"^{prompt}.+", printed, re.MULTILINE)


@pytest.mark.slow
def test_new_ingredient(tmp_path: Path) -> None:
    printed = run(sys.executable, EXAMPLES / "new_ingredient.py", CPU1_CACHE=str(tmp_path))
    figures = re.search(r"(\d\.\d+) bits per byte, a file of ([\d,]+) bytes\n.+", printed)
    assert figures
    assert float(figures[1]) < 6
    assert 100_000 < int(figures[2].replace(",", "")) < 1_000_000


@pytest.mark.slow
def test_fine_tune(tmp_path: Path) -> None:
    write_text(tmp_path)
    words = ["sh", EXAMPLES / "fine_tune.sh", "topics.txt", "mine", "0.05"]
    printed = run(*words, folder=tmp_path, CPU1_CACHE=str(tmp_path / "cache"))
    assert "bits per byte" in printed
    assert printed.split("\n")[-2].strip()
    assert (tmp_path / "mine" / "model.cpu1").exists()


@pytest.mark.slow
@pytest.mark.parametrize("name", ["embed.c", "archive.c"])
def test_c_by_the_commands_of_its_comment(name: str, tmp_path: Path) -> None:
    if not shutil.which("cmake"):
        pytest.skip("no cmake")
    comment = (EXAMPLES / name).read_text(encoding="utf-8").partition("*/")[0]
    *builds, runs = (shlex.split(line) for line in re.findall(r"^ \*     (.+)$", comment, re.MULTILINE))
    there = str(tmp_path / "examples")
    for command in builds:
        run(*(word.replace("build/examples", there) for word in command))
    command = [word.replace("build/examples", there) for word in runs]
    printed = run(*command)
    if name == "archive.c":
        assert re.fullmatch(r"40 bytes, as an archive \d+: See you at the station at half past six\.\n", printed)
    else:
        assert printed.startswith("Once upon a time")
        assert 20 < len(printed.encode()) <= len("Once upon a time") + 120 + 1
    assert run(*command) == printed
