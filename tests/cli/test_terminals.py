"""Terminals of odd widths: no figure is lost, and nothing fails."""

import fcntl
import os
import pty
import struct
import subprocess
import sys
import termios
from pathlib import Path

import pytest
from helpers.study_folders import make_study

from cpu1.cli import main
from cpu1.console import LEAST

PROGRAM = [sys.executable, "-c", "import sys; from cpu1.cli import main; sys.exit(main(sys.argv[1:]))"]
ODD = ["0", "1", "7", "20", "-3", "wide", "999999999"]


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_study(tmp_path_factory.mktemp("terminals") / "study")


@pytest.mark.parametrize("columns", ODD)
def test_tables_are_whole(
    study: Path, tmp_path: Path, columns: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("COLUMNS", columns)
    assert main(["report", str(study), "-o", str(tmp_path)]) == 0
    shown = capsys.readouterr().out
    for figure in ("2.6", "Params M", "byte frequencies 4.620", "PASS"):
        assert figure in shown
    assert main(["compare", str(study), "04", "03"]) == 0
    assert " to " in capsys.readouterr().out
    assert main(["ladder", "--params", "--scale", "demo"]) == 0
    assert len(capsys.readouterr().out.splitlines()) < 30


def in_terminal(columns: int, words: list[str]) -> tuple[int, str]:
    """The exit status and the output of a command in a terminal of so many columns."""
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", columns and 24, columns, 0, 0))
    child = subprocess.Popen(
        [*PROGRAM, *words],
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
        env={**{name: value for name, value in os.environ.items() if name != "COLUMNS"}, "TERM": "xterm"},
    )
    os.close(theirs)
    found = []
    try:
        while piece := os.read(ours, 1 << 16):
            found.append(piece)
    except OSError:  # as a terminal ends
        pass
    os.close(ours)
    return child.wait(), b"".join(found).decode(errors="replace")


@pytest.mark.parametrize("columns", [0, 1, 20])
def test_a_real_terminal(study: Path, tmp_path: Path, columns: int) -> None:
    status, shown = in_terminal(columns, ["report", str(study), "-o", str(tmp_path)])
    assert (status, "Traceback" in shown) == (0, False)
    assert "4.620" in shown
    assert max(len(line) for line in shown.splitlines()) <= 2 * LEAST + 200  # colours count


def test_help_is_readable(monkeypatch: pytest.MonkeyPatch) -> None:
    for columns in ODD:
        done = subprocess.run(
            [*PROGRAM, "train", "--help"], env={**os.environ, "COLUMNS": columns}, capture_output=True, check=True
        )
        assert len(done.stdout.splitlines()) < 170, columns
