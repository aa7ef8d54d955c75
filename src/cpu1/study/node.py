"""What a node of a cluster does for a study: it runs the training command of one run.

An object of `Node` is an actor of Ray with a process of its own. Each of its methods has a thread: `run` waits for the
command, while the others are answered.
"""

import contextlib
import os
import shutil
import socket
import subprocess
import sys
import time
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

from cpu1 import files
from cpu1.data.cache import default_cache
from cpu1.data.corpus import prepare
from cpu1.errors import UserError
from cpu1.runs.folders import LOCK
from cpu1.runs.progress import Progress, progress
from cpu1.study.lifeline import status_of
from cpu1.study.places import Launch, Outcome, outcome, spawn
from cpu1.study.store import CHECKPOINTS, Stamps, Store

LIFELINE = ("-m", "cpu1.study.lifeline")
TICK = 0.25  # seconds between two looks at a folder


@dataclass(frozen=True)
class Order:
    """A run to train on a node. `store` is an address; None: all nodes see the run's folder."""

    launch: Launch
    working: str  # the folder that relative paths are of
    store: str | None
    root: Path  # of the folders in the store


class Node:
    """Trains one run."""

    def __init__(self, order: Order) -> None:
        self.order = order
        self.folder = order.launch.folder
        self.process: subprocess.Popen[bytes] | None = None
        self.asked = False

    def run(self) -> Outcome:
        """Trains until the run is done, has failed or was stopped. What is wrong with the node is a failure."""
        try:
            self._enter()
            return self._mirrored() if self.order.store else self._trained(self.order.launch.words)
        except UserError as error:
            return Outcome("failed", f"{error} (node {socket.gethostname()})")

    def look(self) -> Progress:
        """How far the run has come."""
        return progress(self.folder, running=True)

    def ask(self) -> None:
        """Has the run save and leave."""
        self.asked = True
        if self.process is not None and self.process.stdin is not None:
            with contextlib.suppress(OSError):
                self.process.stdin.write(b"i")
                self.process.stdin.flush()

    def _enter(self) -> None:
        """Checks that the node has what the run needs."""
        launch, order = self.order.launch, self.order
        with contextlib.suppress(OSError):
            os.chdir(order.working)  # which all nodes share, unless every path is absolute
        if order.store is None and not launch.folder.is_dir():
            raise UserError(f"{launch.folder}: not seen here; name a folder that all nodes share, or add --store")
        if launch.data_sha256 and prepare(launch.data, field=launch.field).sha256 != launch.data_sha256:
            raise UserError(f"{launch.data}: holds another text here than where the study was started")

    def _trained(self, words: tuple[str, ...], mirror: "Mirror | None" = None) -> Outcome:
        """One process of the training command, as on any machine, that ends with this one."""
        while files.is_locked(self.folder / LOCK) and not self.asked:
            time.sleep(TICK)  # a process whose node was lost saves its run
        if self.asked:
            return Outcome("interrupted", "stopped before it began")
        command, *rest = words
        python = command if Path(command).is_file() else sys.executable
        guarded = [sys.executable, *LIFELINE, python, *rest]
        self.process = spawn(guarded, self.folder, stdin=subprocess.PIPE)
        while self.process.poll() is None:
            if mirror is not None:
                mirror.keep_up()
            time.sleep(TICK)
        return outcome(self.folder, status_of(self.process.returncode), self.order.launch.stops)

    def _mirrored(self) -> Outcome:
        """The same in a folder of this node, which is copied to the store."""
        launch, store = self.order.launch, Store(str(self.order.store))
        place = default_cache() / "studies" / sha256(store.address.encode()).hexdigest()[:16]
        names = {
            folder: folder.relative_to(self.order.root).as_posix()
            for folder in (launch.folder, launch.teacher)
            if folder is not None
        }
        self.folder = place / names[launch.folder]
        if launch.teacher is not None:
            store.pull(names[launch.teacher], place / names[launch.teacher])
        mirror = Mirror(store, names[launch.folder], self.folder)
        mirror.begin()
        moved = {str(folder): str(place / name) for folder, name in names.items()}
        found = self._trained(tuple(moved.get(word, word) for word in launch.words), mirror)
        mirror.finish()
        if found.state == "done":
            shutil.rmtree(self.folder, ignore_errors=True)
        return found


class Mirror:
    """A run folder of a node, and its copy in a store."""

    def __init__(self, store: Store, name: str, folder: Path) -> None:
        self.store, self.name, self.folder = store, name, folder
        self.stamps: Stamps = {}
        self.newest = ""

    def begin(self) -> None:
        """Takes over what the store has, unless this node has come as far before."""
        self.stamps = self.store.held(self.name)
        stored = max((file for file in self.stamps if file.startswith(CHECKPOINTS)), default="")
        if not self._newest() or self._newest() < stored:
            shutil.rmtree(self.folder, ignore_errors=True)
            self.folder.mkdir(parents=True)
            self.stamps = self.store.pull(self.name, self.folder)
        (self.folder / "error.json").unlink(missing_ok=True)
        self.newest = self._newest()

    def keep_up(self) -> None:
        """Copies what is new where there is a new checkpoint; what fails is tried again at the next one."""
        newest = self._newest()
        if newest != self.newest:
            self.newest = newest
            with contextlib.suppress(Exception):  # whatever the library of an address raises
                self.stamps = self.store.push(self.folder, self.name, self.stamps)

    def finish(self) -> None:
        """Copies what is new. Raises what the address's library raises."""
        self.store.push(self.folder, self.name, self.stamps)

    def _newest(self) -> str:
        paths = (self.folder / "checkpoints").glob("[!.]*")
        return max((path.relative_to(self.folder).as_posix() for path in paths), default="")
