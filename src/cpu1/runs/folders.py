"""Runs as records: what each left behind, read from its folder.

    <study>/<run>-<scale>-<round>-s<seed>/
        settings.json  recipe.json  env.json                     from the start
        result.json  documents.json                              when it is done
        held-out.json  speed.json  language.json                 when they were measured
        error.json                                               when it failed

A run is *done* when it has a result.json; that file is written once, at the end.
"""

import re
import typing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from cpu1.errors import UserError
from cpu1.files import read_json
from cpu1.records import REMEDY, Count, later, parse, required
from cpu1.runs.result import Documents, Environment, Fault, HeldOut, Result, Speed
from cpu1.runs.settings import Settings

NAME = re.compile(r"(?P<run>[^-]+)-(?P<scale>[^-]+)-(?P<round>.+)-s(?P<seed>\d+)")
HELD_OUT = "held-out.json"
LANGUAGE = "language.json"  # the output of `cpu1 check`
LOCK = ".lock"  # held by the process that trains in the folder
FILES = {"held_out": HELD_OUT, "fault": "error.json"}  # of parts that are not called like their file
AGAIN = f"{REMEDY}; delete the run folder and run it again"


@dataclass(frozen=True)
class Key:
    """What identifies a run within a study; also the name of its folder."""

    run: str
    scale: str
    round: str
    seed: Count

    @property
    def folder(self) -> str:
        """The name of the run's folder, RUN-SCALE-ROUND-sSEED."""
        return f"{self.run}-{self.scale}-{self.round}-s{self.seed}"

    @staticmethod
    def of(folder: str) -> "Key | None":
        """The key that a folder's name spells, or None when it is no run folder's name."""
        match = NAME.fullmatch(folder)
        return Key(match["run"], match["scale"], match["round"], int(match["seed"])) if match else None


@dataclass(frozen=True, kw_only=True)
class RunRecord:
    """All that is known of a run; what was not written is None. A line of a gathered study is one."""

    key: Key
    settings: Settings | None = later(default=None)
    recipe: dict[str, Any] | None = later(default=None)  # see `model.recipe.Recipe.from_json`, which needs torch
    env: Environment | None = later(default=None)
    result: Result | None = later(default=None)  # None until the run is done
    documents: Documents | None = later(default=None)  # of its own text
    held_out: dict[str, HeldOut] = field(default_factory=dict)  # by the name of another text
    speed: Speed | None = later(default=None)
    language: dict[str, Any] | None = later(default=None)
    fault: Fault | None = later(default=None)  # why it failed


HINTS = typing.get_type_hints(RunRecord, include_extras=True)
PARTS = {name: required(hint) for name, hint in HINTS.items() if name != "key"}  # a file that is there holds something


@dataclass(frozen=True, kw_only=True)
class Run(RunRecord):
    """A run, and where it was read: its folder, or the place that this would have in a gathered study."""

    path: Path


def load_run(path: Path, key: Key | None = None) -> Run:
    """One run folder, that of `key` or of whatever run its result is.

    UserError when a file is damaged or belongs to another run, or there is neither a key nor a result.
    """
    done = (path / "result.json").exists()
    left_out = ("fault",) if done else ("documents", "held_out")
    parts, sources = {}, {part: path / FILES.get(part, f"{part}.json") for part in PARTS if part not in left_out}
    for part, source in sources.items():
        if source.exists() or (part == "documents" and done):
            parts[part] = parse(PARTS[part], read_json(source), str(source), AGAIN)
    result = parts.get("result")
    found = Key(result.run, result.scale, result.round, result.seed) if result else key
    if found is None:
        raise UserError(f"{path}: no result.json; the run is not finished")
    if key not in (None, found):
        raise UserError(
            f"{path / 'result.json'}: is the result of {found.folder}, not of {path.name}; rename the folder"
        )
    return checked(Run(path=path, key=found, **parts), {part: str(source) for part, source in sources.items()})


def checked(run: Run, sources: dict[str, str]) -> Run:
    """The run, when its documents give the scores that it has; else UserError naming one of the `sources`."""
    if run.result:
        if run.documents is None:
            raise UserError(f"{sources['documents']}: missing; {AGAIN}")
        run.documents.check(run.result.bpb, sources["documents"])
        for text in run.held_out.values():
            text.documents.check(text.bpb, sources["held_out"])
    return run


def load_folders(study: Path) -> tuple[Run, ...]:
    """All run folders of a study, by name. UserError: no such study, or a damaged file (named)."""
    if not study.is_dir():
        raise UserError(f"{study}: no such study folder; `cpu1 study` makes one")
    runs = []
    for path in sorted(study.iterdir()):
        if not path.is_dir() or path.name.startswith("."):
            continue
        if key := Key.of(path.name):
            runs.append(load_run(path, key))
        elif (path / "result.json").exists():
            raise UserError(
                f"{path}: holds a result.json but is not named <run>-<scale>-<round>-s<seed>; "
                "rename it, or move it out of the study"
            )
    return tuple(runs)
