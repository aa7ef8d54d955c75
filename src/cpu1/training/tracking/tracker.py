"""What a tracker is, and which there are. A new one is a module of this folder with a `start`, and a name here.

All keep what they get on this machine, in a folder, unless the environment asks for more.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Literal, Protocol

from cpu1.errors import UserError

KINDS = ("tensorboard", "trackio", "wandb", "mlflow")  # also the names of their packages, modules here and extras
State = Literal["finished", "interrupted", "failed"]


@dataclass(frozen=True)
class Run:
    """A run as a tracker knows it."""

    project: str
    name: str
    id: str | None  # what `Tracker.id` was when the run was tracked before
    folder: Path  # where the tracker keeps its files
    config: dict[str, Any]  # recipe and settings, flat


class Tracker(Protocol):
    """One run in the store of a tracker."""

    id: str  # under which the run is continued later

    def log(self, step: int, figures: Mapping[str, float]) -> None: ...
    def end(self, state: State) -> None: ...


def check(kinds: tuple[str, ...]) -> None:
    """Raises UserError for a tracker that is not installed."""
    for kind in kinds:
        if find_spec(kind) is None:
            raise UserError(f"--track {kind}: {kind} is not installed: pip install 'cpu1[{kind}]'")


def start(kind: str, run: Run) -> Tracker:
    """Begins a run or goes on with it. Raises whatever the tracker's package raises."""
    tracker: Tracker = import_module(f"cpu1.training.tracking.{kind}").start(run)
    return tracker
