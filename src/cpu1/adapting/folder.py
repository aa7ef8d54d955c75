"""The folder in which a training is kept until it is done: OUT.adapting, next to the file that it ends in.

adapting.json   what is trained on what: marks the folder as ours
plan.json       settings and steps, once they are measured
looks.json      bits per byte of held-out text, by step
best.cpu1       the packed model of the best look
checkpoints/    weights and moments, from which training resumes
text/, text.*/  the text as training reads it
"""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal

from cpu1.adapting.names import state_folder
from cpu1.errors import UserError
from cpu1.files import locked, write_atomic, write_json
from cpu1.records import Amount, Count, read, to_json
from cpu1.runs.settings import Settings

MARK = "adapting.json"
BEST = "best.cpu1"
REMEDY = "remove the folder to start again"


@dataclass(frozen=True)
class Task:
    """What a folder is for. Another text, model, budget or seed needs another folder."""

    format: Literal[1]
    text: str  # `text.Parts.identity`
    model: str  # the first 16 digits of the SHA-256 of the file that training starts from, or `scratch`
    minutes: Amount
    seed: Count


@dataclass(frozen=True)
class Plan:
    """How it is trained. The steps are settled once, so that a run that is resumed is the same run."""

    settings: Settings
    seconds: Amount  # that all steps take; 0: as long as they take


@dataclass(frozen=True)
class Look:
    """What the packed model needed for held-out text after some steps."""

    step: Count
    bits_per_byte: Amount


@dataclass(frozen=True)
class Looks:
    """All looks, in the order of their steps."""

    looks: tuple[Look, ...] = ()

    @property
    def best(self) -> Look:
        """The look with the fewest bits; the first of equals."""
        return min(self.looks, key=lambda look: look.bits_per_byte)

    @property
    def since_best(self) -> int:
        """How many looks came after the best one."""
        return len(self.looks) - 1 - self.looks.index(self.best)

    def with_look(self, look: Look) -> "Looks":
        """One more; a step that is looked at again replaces what was seen there."""
        others = (each for each in self.looks if each.step != look.step)
        return Looks(tuple(sorted((*others, look), key=lambda each: each.step)))


class Folder:
    """The folder of an output."""

    def __init__(self, out: Path) -> None:
        self.out = out
        self.path = state_folder(out)

    def check(self, task: Task) -> None:
        """UserError for a folder that is not ours or is of another task. Writes nothing."""
        if not self.path.exists():
            return
        if not self.path.is_dir():
            raise UserError(f"{self.path}: is a file, where training would keep its state; name another output with -o")
        mark = self.path / MARK
        if not mark.exists():
            if strangers := sorted(each.name for each in self.path.iterdir() if not each.name.startswith(".")):
                raise UserError(f"{self.path}: holds {strangers[0]}, which is not ours; name another output with -o")
            return
        found = read(Task, mark, REMEDY)
        for name, value in asdict(task).items():
            if getattr(found, name) != value:
                raise UserError(
                    f"{self.path}: holds a training with another {name}; give the same command to go on with it, or "
                    f"remove the folder"
                )

    @contextmanager
    def held(self, task: Task) -> Iterator[None]:
        """Makes the folder this process's own, marked with its task. UserError where another process has it."""
        self.check(task)
        with locked(self.path / ".lock", held=f"{self.path}: another process trains here; wait, or stop it"):
            write_json(self.path / MARK, to_json(task))
            yield

    def plan(self) -> Plan | None:
        """What was settled, if it was."""
        path = self.path / "plan.json"
        return read(Plan, path, REMEDY) if path.exists() else None

    def settle(self, plan: Plan) -> None:
        """Keeps the plan."""
        write_json(self.path / "plan.json", {"settings": plan.settings.to_json(), "seconds": plan.seconds})

    def looks(self) -> Looks:
        """Those of earlier processes; none in a new folder."""
        path = self.path / "looks.json"
        return read(Looks, path, REMEDY) if path.exists() else Looks()

    def keep(self, looks: Looks) -> None:
        """Keeps the looks."""
        write_json(self.path / "looks.json", to_json(looks))

    @property
    def best(self) -> Path:
        """The packed model of the best look."""
        return self.path / BEST

    def hand_over(self) -> int:
        """Writes the best model as the output; returns its size."""
        data = self.best.read_bytes()
        write_atomic(self.out, data)
        return len(data)

    def remove(self) -> None:
        """Deletes the folder, when the output is written."""
        shutil.rmtree(self.path, ignore_errors=True)
