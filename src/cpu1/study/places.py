"""Where the processes of a study run: what a place has to offer, and this machine, the place without a name.

The training command is the same everywhere. It answers by its exit status: 0 done, 130 stopped after saving, 2 bad
input or a guard (error.json says which); anything else is a crash (log.txt's end is shown).
"""

import contextlib
import os
import signal
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple, Protocol

from cpu1.errors import UserError
from cpu1.files import write_json
from cpu1.records import read
from cpu1.runs.progress import Progress, progress
from cpu1.runs.result import Fault

LOG = "log.txt"
LOG_LINES = 12
LOG_TAIL = 8192  # bytes


@dataclass(frozen=True)
class Launch:
    """A run to train: the training command's words, and what of them a place has to know."""

    words: tuple[str, ...]
    folder: Path  # of the run
    teacher: Path | None  # folder of a run of the same study that it learns from
    data: str
    field: str
    data_sha256: str | None  # of the text's content; None: not known
    threads: int
    device: str
    stops: bool = False  # before the run's end, as its words ask


class Outcome(NamedTuple):
    """What a process came to.

    `state` is done, stopped as its launch asks, failed, interrupted, or lost with the machine it ran on.
    """

    state: str
    message: str = ""


class Process(Protocol):
    """The process that trains a run, wherever that is."""

    def begun(self) -> bool:
        """Whether it runs, or has ended; a place may let it wait for cores."""

    def alive(self) -> bool:
        """Whether it has not ended."""

    def look(self) -> Progress:
        """How far the run has come."""

    def outcome(self) -> Outcome:
        """What it came to, once it has ended. A crash leaves an error.json as well, for the report."""

    def ask(self) -> None:
        """Asks it to save and leave, as Ctrl-C does."""

    def terminate(self) -> None:
        """The same, as the system does."""

    def kill(self) -> None:
        """Ends it and its own children by force, and waits for that."""


class Place(Protocol):
    """Where processes are started."""

    def start(self, launch: Launch) -> Process:
        """Starts a run whose folder exists. UserError for a command that does not start."""

    def fetch(self, folder: Path) -> None:
        """Brings what is known of a run elsewhere into its folder, before the study looks there."""


class Here:
    """This machine."""

    def start(self, launch: Launch) -> "Local":
        """Starts a process in a session of its own, so that the terminal's Ctrl-C reaches it through us, once."""
        return Local(launch, spawn(launch.words, launch.folder))

    def fetch(self, folder: Path) -> None:
        """Nothing is elsewhere."""


class Local:
    """A process of this machine."""

    def __init__(self, launch: Launch, process: subprocess.Popen[bytes]) -> None:
        self.launch, self.process = launch, process

    def begun(self) -> bool:
        """At once."""
        return True

    def alive(self) -> bool:
        """Whether it has not ended."""
        return self.process.poll() is None

    def look(self) -> Progress:
        """Of its folder."""
        return progress(self.launch.folder, running=True)

    def outcome(self) -> Outcome:
        """By its exit status."""
        return outcome(self.launch.folder, self.process.wait(), self.launch.stops)

    def ask(self) -> None:
        """By SIGINT."""
        self.process.send_signal(signal.SIGINT)

    def terminate(self) -> None:
        """By SIGTERM."""
        self.process.terminate()

    def kill(self) -> None:
        """Its whole session."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()


def spawn(words: Sequence[str], folder: Path, stdin: int = subprocess.DEVNULL) -> subprocess.Popen[bytes]:
    """Starts a command that writes to a run folder's log, in a session of its own. UserError where it does not."""
    try:
        with (folder / LOG).open("ab") as log:
            return subprocess.Popen(words, stdin=stdin, stdout=log, stderr=subprocess.STDOUT, start_new_session=True)
    except OSError as error:
        raise UserError(f"{words[0]}: the training command does not start ({error})") from None


def outcome(folder: Path, status: int, stops: bool) -> Outcome:
    """What a process with this exit status came to; `stops` as in its launch.

    A crash leaves an error.json as well, for the report.
    """
    if status == 0 and (folder / "result.json").exists():
        return Outcome("done")
    if status == 0 and stops:
        return Outcome("stopped")
    if status == 130:
        return Outcome("interrupted", "stopped after saving")
    if (folder / "error.json").exists():
        return Outcome("failed", read(Fault, folder / "error.json").error)
    if status == 0:
        message = "ended without a result.json"
    elif status < 0:
        message = f"killed by signal {-status}" + (" (out of memory?)" if status == -signal.SIGKILL else "")
    else:
        message = f"crashed with exit status {status}"
    message = "\n".join([message, *log_tail(folder / LOG)])
    write_json(folder / "error.json", {"error": message})
    return Outcome("failed", message)


def log_tail(path: Path) -> list[str]:
    """The last lines of a log."""
    with path.open("rb") as file:
        file.seek(max(0, file.seek(0, os.SEEK_END) - LOG_TAIL))
        return file.read(LOG_TAIL).decode("utf-8", "replace").splitlines()[-LOG_LINES:]
