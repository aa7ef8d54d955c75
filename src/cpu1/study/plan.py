"""What a study is to train, and `study.json`, which keeps a folder's runs comparable between calls."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from fractions import Fraction
from pathlib import Path
from typing import Any

from cpu1.errors import UserError
from cpu1.files import write_json
from cpu1.records import to_json
from cpu1.runs.folders import Key
from cpu1.runs.progress import Progress
from cpu1.runs.studies import FORMAT, Planned, StudyPlan, read_plan
from cpu1.study.places import Process


@dataclass(frozen=True)
class Plan:
    """Runs × seeds at one scale and round, on one text; `extra` are more words for every training command."""

    folder: Path
    runs: tuple[str, ...]
    seeds: tuple[int, ...]
    scale: str
    round: str
    data: str
    field: str = ""
    jobs: int = 1  # processes at once
    threads: int = 1  # of each process
    device: str = "auto"
    teacher_cache: Path | None = None  # what students learn from, instead of a run of the plan
    extra: tuple[str, ...] = ()
    track: tuple[str, ...] = ()  # words for every training command that decide nothing about a run
    tuned: tuple[tuple[str, str], ...] = ()  # run, and a setting that it alone gets, like "rate=3e-3"
    name: str = ""  # prefix of its runs where other plans are trained along with it
    data_sha256: str | None = None  # of the text's content

    def own(self, run: str) -> tuple[str, ...]:
        """The settings that this run alone gets."""
        return tuple(setting for name, setting in self.tuned if name == run)


@dataclass(eq=False)
class Job:
    """One run of a plan to train.

    `state` is waiting, queued, running, done, failed, blocked, interrupted, or stopped by a search before its end.
    """

    plan: Plan
    key: Key
    title: str
    teacher: "Job | None" = None
    teacher_cache: Path | None = None
    teaches: bool = False
    state: str = "waiting"
    message: str = ""  # why it failed or is blocked
    process: Process | None = None
    lost: int = 0  # times in a row that its machine was lost, at step `lost_at`
    lost_at: int = -1
    granted: bool = True  # whether a search lets it train
    until: Fraction | None = None  # the share of its steps at which the search has it stop; None: its end
    progress: Progress = field(default_factory=lambda: Progress("waiting"))

    @property
    def folder(self) -> Path:
        """The run's folder."""
        return self.plan.folder / self.key.folder

    @property
    def name(self) -> str:
        """The plan's name, if it has one, and the run's."""
        return f"{self.plan.name} {self.key.folder}".lstrip()


def with_teachers(plan: Plan, teachers: Mapping[str, str]) -> Plan:
    """The plan with every teacher that its runs need; UserError when it asks for nothing."""
    if not plan.runs or not plan.seeds:
        raise UserError("a study needs at least one run and one seed")
    if plan.jobs < 1 or plan.threads < 1:
        raise UserError(f"jobs {plan.jobs} and threads {plan.threads} should be at least 1")
    wanted = {} if plan.teacher_cache else teachers
    absent = [wanted[run] for run in plan.runs if run in wanted and wanted[run] not in plan.runs]
    runs, seeds = dict.fromkeys((*absent, *plan.runs)), dict.fromkeys(plan.seeds)
    return replace(plan, runs=tuple(runs), seeds=tuple(seeds))


def make_jobs(plan: Plan, teachers: Mapping[str, str], titles: Mapping[str, str]) -> list[Job]:
    """A job for each run and seed, in the order of the plan, a whole ladder before the next seed."""
    keys = [Key(run, plan.scale, plan.round, seed) for seed in plan.seeds for run in plan.runs]
    jobs = {key: Job(plan, key, titles.get(key.run, "")) for key in keys}
    for key, job in jobs.items():
        if key.run in teachers and plan.teacher_cache:
            job.teacher_cache = plan.teacher_cache
        elif key.run in teachers:
            job.teacher = jobs[replace(key, run=teachers[key.run])]
            job.teacher.teaches = True
    return list(jobs.values())


def agreed(plan: Plan) -> StudyPlan:
    """The folder's study.json with the plan in it; UserError where it would mix runs that do not compare.

    Writes nothing. All runs of a study share the text, wherever it lies; those of a scale and round the extra words
    too, and all seeds of a run its own settings. Runs and seeds add up.
    """
    path = plan.folder / "study.json"
    held = read_plan(path) if path.exists() else StudyPlan(FORMAT, plan.data, plan.field, ())
    parts = {(part.scale, part.round): part for part in held.plans}
    part = parts.get((plan.scale, plan.round), Planned(plan.scale, plan.round, plan.extra))
    for setting, old, new in (
        ("data", *_texts(held, plan)),
        ("field", held.field, plan.field),
        (f"the options of {plan.scale} {plan.round}", part.extra, plan.extra),
        *((f"run {run} tuned by", part.tuned.get(run, ()), plan.own(run)) for run in plan.runs if run in part.runs),
    ):
        if old != new:
            raise UserError(
                f"{path}: this study was started with {setting} {old!r}, now it is {new!r}, so its runs "
                "would not compare; use another folder, or the same setting"
            )
    tuned = {run: words for run in plan.runs if (words := plan.own(run))}
    seeds = {run: tuple(sorted({*part.runs.get(run, ()), *plan.seeds})) for run in plan.runs}
    parts[plan.scale, plan.round] = replace(part, tuned=part.tuned | tuned, runs=part.runs | seeds)
    return replace(held, plans=tuple(parts.values()), data_sha256=held.data_sha256 or plan.data_sha256)


def _texts(held: StudyPlan, plan: Plan) -> tuple[str, str]:
    """The text of a study and that of a plan: the same where the content is, or else as they are called."""
    if held.data_sha256 is None or plan.data_sha256 is None:
        return held.data, plan.data
    old, new = (f"{one.data} (SHA-256 {str(one.data_sha256)[:16]})" for one in (held, plan))
    return old, old if held.data_sha256 == plan.data_sha256 else new


def record(plan: Plan, beside: Mapping[str, Any] | None = None) -> None:
    """Writes study.json with the plan in it, and the JSON files `beside` it; UserError, and nothing, see `agreed`."""
    files = {"study.json": to_json(agreed(plan)), **(beside or {})}
    for name, value in files.items():
        write_json(plan.folder / name, value)
