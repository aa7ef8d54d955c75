"""A study's runs together: a folder of run folders, or one file into which such a folder was gathered.

    <study>/  study.json  baselines.json  <run folders>, see `folders`
    <study>.jsonl   a line of JSON for the study, then one for each run

The file holds all that the folder's JSON files hold, value for value, and nothing else of it: no weights, no metrics.
"""

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, Literal

from cpu1.errors import UserError
from cpu1.files import apart, strict_json, write_atomic
from cpu1.records import REMEDY, Amount, Count, later, parse, read, read_all, to_json
from cpu1.runs.folders import Run, RunRecord, checked, load_folders

FORMAT: Final = 1


@dataclass(frozen=True)
class Planned:
    """What was asked for at one scale and round: options of the training command, and each run's seeds."""

    scale: str
    round: str
    extra: tuple[str, ...]
    tuned: dict[str, tuple[str, ...]] = field(default_factory=dict)  # settings that one run alone gets, by run
    runs: dict[str, tuple[Count, ...]] = field(default_factory=dict)


@dataclass(frozen=True)
class StudyPlan:
    """study.json: one text, and what was asked for of it."""

    format: Literal[1]
    data: str
    field: str
    plans: tuple[Planned, ...]
    data_sha256: str | None = later(default=None)  # of the text's content


@dataclass(frozen=True)
class Baseline:
    """Bits per byte of something that is no run, on the same bytes: a line of baselines.json."""

    bpb: Amount
    note: str = ""


@dataclass(frozen=True)
class About:
    """The first line of a gathered study."""

    format: Literal[1]
    plan: StudyPlan | None = later(default=None)
    baselines: dict[str, Baseline] = field(default_factory=dict)


@dataclass(frozen=True)
class Study:
    """A study as read."""

    path: Path
    about: About
    runs: tuple[Run, ...]  # by name


def load_study(path: Path) -> Study:
    """The study of a folder or a gathered file. UserError: no such study, or something in it is damaged (named)."""
    return _load_file(path) if path.is_file() else _load_folder(path)


def load_runs(path: Path) -> tuple[Run, ...]:
    """All runs of a study, by name; raises as `load_study` does."""
    return load_study(path).runs


def read_plan(path: Path) -> StudyPlan:
    """study.json."""
    return read(StudyPlan, path)


def gather(study: Path, out: Path) -> int:
    """Writes a study, folder or file, as one file; returns how many runs it holds.

    UserError where that is none, and for an `out` that is one of the study's own files.
    """
    apart(out, [study, *study.glob("*.json"), *study.glob("*/*")])
    found = load_study(study)
    if not found.runs:
        raise UserError(f"{study}: holds no run yet; `cpu1 study` trains them")
    records = [to_json(found.about), *(_without_path(run) for run in found.runs)]
    lines = (json.dumps(record, ensure_ascii=False, allow_nan=False, separators=(",", ":")) for record in records)
    write_atomic(out, "".join(f"{line}\n" for line in lines))
    return len(found.runs)


def _without_path(run: Run) -> dict[str, Any]:
    record = {name: value for name, value in vars(run).items() if name != "path"}
    return to_json(RunRecord(**record))


def _load_folder(path: Path) -> Study:
    runs = load_folders(path)
    plan, baselines = path / "study.json", path / "baselines.json"
    about = About(
        FORMAT, read_plan(plan) if plan.exists() else None, read_all(Baseline, baselines) if baselines.exists() else {}
    )
    return Study(path, about, runs)


def _load_file(path: Path) -> Study:
    try:
        lines = path.read_text(encoding="utf-8").split("\n")
    except (OSError, ValueError) as error:
        raise UserError(f"{path}: not readable ({error})") from None
    about, *records = (_parse_line(path, number, line) for number, line in enumerate(lines, 1) if line)
    runs = (_run(path, number, record) for number, record in enumerate(records, 2))
    return Study(path, parse(About, about, f"{path}, line 1"), tuple(runs))


def _parse_line(path: Path, number: int, line: str) -> Any:
    try:
        return strict_json(line)
    except ValueError as error:
        raise UserError(f"{path}, line {number}: not readable as JSON ({error}); {REMEDY}") from None


def _run(path: Path, number: int, value: Any) -> Run:
    source = f"{path}, line {number}"
    record = parse(RunRecord, value, source)
    return checked(Run(path=path / record.key.folder, **vars(record)), dict.fromkeys(value, source))
