"""A study's runs on a Ray cluster: an actor for each run, with its cores or its GPU.

Ray decides which node trains a run. Where that node is lost, the run is handed on and continues from its newest
checkpoint, so all nodes have to see its folder: as a path, or through a store.
"""

import contextlib
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

from cpu1.cluster import connected
from cpu1.files import write_json
from cpu1.runs.progress import Progress
from cpu1.study.node import Node, Order
from cpu1.study.places import Launch, Outcome
from cpu1.study.store import RESULT, Store


@contextmanager
def ray_place(on: str, root: Path, store: str | None = None) -> Iterator["RayPlace"]:
    """The cluster `on` (see `cluster.connected`), for the runs below the folder `root`.

    store: an address that all nodes reach; None: they see `root` itself, under this path. UserError as `connected`,
    and for an address that cannot be opened.
    """
    opened = Store(store) if store else None
    with connected(on) as ray:
        yield RayPlace(ray, root, opened)


class RayPlace:
    """A connected cluster."""

    def __init__(self, ray: Any, root: Path, store: Store | None) -> None:
        self.ray, self.root, self.store = ray, root.absolute(), store

    def start(self, launch: Launch) -> "Remote":
        """Asks for an actor with the run's cores, and a GPU where it trains on one."""
        gpus = int(launch.device == "cuda" or (launch.device == "auto" and self._has_gpus()))
        where = self.store.address if self.store else None
        order = Order(self._absolute(launch), os.getcwd(), where, self.root)
        node = self.ray.remote(Node).options(num_cpus=launch.threads, num_gpus=gpus, max_concurrency=4, max_restarts=0)
        return Remote(self, launch.folder, node.remote(order))

    def fetch(self, folder: Path) -> None:
        """Copies a finished run, or what is known of one, from the store; without its checkpoints."""
        if self.store is None or (folder / RESULT).exists():
            return
        name = folder.absolute().relative_to(self.root).as_posix()
        self.store.pull(name, folder, checkpoints=False)

    def _has_gpus(self) -> bool:
        return bool(self.ray.cluster_resources().get("GPU"))

    def _absolute(self, launch: Launch) -> Launch:
        """The folders as every node knows them."""
        paths = {str(path): str(path.absolute()) for path in (launch.folder, launch.teacher) if path is not None}
        teacher = launch.teacher.absolute() if launch.teacher else None
        words = tuple(paths.get(word, word) for word in launch.words)
        return replace(launch, words=words, folder=launch.folder.absolute(), teacher=teacher)


class Remote:
    """The process that trains a run on some node."""

    def __init__(self, place: RayPlace, folder: Path, actor: Any) -> None:
        self.place, self.folder, self.actor = place, folder, actor
        self.ended = actor.run.remote()
        self.looked = actor.look.remote()
        self.seen: Progress | None = None

    def begun(self) -> bool:
        """Whether a node has taken it."""
        self._refresh()
        return self.seen is not None or not self.alive()

    def alive(self) -> bool:
        """Whether it has not ended."""
        return not self._ready(self.ended)

    def look(self) -> Progress:
        """What its node last answered; nobody waits for an answer."""
        self._refresh()
        return self.seen or Progress("running")

    def outcome(self) -> Outcome:
        """What its node answered, or that it is lost."""
        errors = self.place.ray.exceptions
        try:
            found: Outcome = self.place.ray.get(self.ended)
        except (errors.RayTaskError, errors.ActorUnschedulableError, errors.RuntimeEnvSetupError) as error:
            found = Outcome("failed", str(error).strip())
        except errors.RayError as error:
            self.kill()  # it may only be out of reach
            return Outcome("lost", f"lost its node ({type(error).__name__})")
        self.place.fetch(self.folder)
        if found.state == "failed" and not (self.folder / "error.json").exists():
            write_json(self.folder / "error.json", {"error": found.message})
        self.kill()
        return found

    def ask(self) -> None:
        """Has its node save the run; one that has not begun is taken back."""
        if self.begun():
            self.actor.ask.remote()
        else:
            self.kill()

    def terminate(self) -> None:
        """The same."""
        self.ask()

    def kill(self) -> None:
        """Takes its actor away: the process ends with it, see `lifeline`."""
        with contextlib.suppress(self.place.ray.exceptions.RayError):
            self.place.ray.kill(self.actor)

    def _refresh(self) -> None:
        if self._ready(self.looked):
            with contextlib.suppress(self.place.ray.exceptions.RayError):
                self.seen = self.place.ray.get(self.looked)
                self.looked = self.actor.look.remote()

    def _ready(self, reference: Any) -> bool:
        return bool(self.place.ray.wait([reference], timeout=0)[0])
