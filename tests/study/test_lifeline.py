"""A command ends with its owner, and saves before it does."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from cpu1.study.lifeline import status_of

# as a training run: each kind of signal is noted once, a second one of a kind kills
COMMAND = """
import signal, sys, time
from pathlib import Path
from cpu1.training.loop import signals_caught
with signals_caught() as received:
    deadline = time.monotonic() + 60
    for _ in range(int(sys.argv[2]) + 1):
        Path(sys.argv[1]).write_text(" ".join(["ready", *map(str, received)]))
        before = len(received)
        while len(received) == before and time.monotonic() < deadline:
            time.sleep(0.01)
    Path(sys.argv[1]).write_text("saved")
"""


@pytest.fixture
def said(tmp_path: Path) -> Path:
    """What the command last wrote."""
    return tmp_path / "said"


def start(said: Path, signals: int) -> "subprocess.Popen[bytes]":
    """A command that leaves when it has noted so many signals and one more."""
    words = [sys.executable, "-m", "cpu1.study.lifeline", sys.executable, "-c", COMMAND, str(said), str(signals)]
    owned = subprocess.Popen(words, stdin=subprocess.PIPE)
    wait_for(said, "ready")
    return owned


def wait_for(said: Path, start: str) -> None:
    deadline = time.monotonic() + 60
    while not (said.exists() and said.read_text().startswith(start)):
        assert time.monotonic() < deadline, said.read_text() if said.exists() else "never began"
        time.sleep(0.01)


def close(owned: "subprocess.Popen[bytes]") -> None:
    assert owned.stdin is not None
    owned.stdin.close()


def test_a_command_saves_when_its_owner_is_gone(said: Path) -> None:
    owned = start(said, 0)
    close(owned)
    assert owned.wait(60) == 0
    assert said.read_text() == "saved"


LINUX = pytest.mark.skipif(sys.platform != "linux", reason="a signal at the parent's death is Linux's")


@LINUX
def test_a_command_saves_when_its_guard_is_killed(said: Path) -> None:
    owned = start(said, 1)
    owned.kill()
    owned.wait(60)
    wait_for(said, "ready 1")
    time.sleep(0.2)  # a second signal would kill it
    assert said.read_text() == f"ready {int(signal.SIGHUP)}"
    [command] = [path.parent for path in Path("/proc").glob("[0-9]*/cmdline") if names(path, said)]
    os.kill(int(command.name), signal.SIGTERM)
    wait_for(said, "saved")


def names(cmdline: Path, said: Path) -> bool:
    """Whether a process of Linux was called with this file."""
    try:
        return os.fsencode(said) in cmdline.read_bytes().split(b"\0")
    except OSError:
        return False


@LINUX
def test_a_command_saves_when_it_is_cut_off_in_two_ways(said: Path) -> None:
    """A cluster closes the pipe of a lost owner and kills its children: two signals, which are not one of a kind."""
    owned = start(said, 1)
    close(owned)
    wait_for(said, "ready 15")
    owned.kill()
    owned.wait(60)
    wait_for(said, "saved")


@pytest.mark.parametrize(("code", "status"), [(0, 0), (1, 1), (130, 130), (256 - 9, -9), (256 - 15, -15)])
def test_a_status_is_the_commands(code: int, status: int) -> None:
    assert status_of(code) == status
