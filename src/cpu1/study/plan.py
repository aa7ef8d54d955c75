"""What a study is to train, and `study.json`, which keeps a folder's runs comparable between calls."""

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from subprocess import Popen
from typing import Any

from cpu1.errors import UserError
from cpu1.files import read_json, write_json
from cpu1.runs.fields import Fields
from cpu1.runs.folders import Key
from cpu1.runs.progress import Progress

FORMAT = 1


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
    tuned: tuple[tuple[str, str], ...] = ()  # run, and a setting that it alone gets, like "rate=3e-3"
    name: str = ""  # what tells its runs from those of other plans that are trained along with it

    def own(self, run: str) -> list[str]:
        """The settings that this run alone gets."""
        return [setting for name, setting in self.tuned if name == run]


@dataclass(frozen=True)
class Study:
    """What study.json holds: one text, and for each scale and round the options, and each run's seeds."""

    data: str
    field: str
    plans: list[dict[str, Any]]


@dataclass(eq=False)
class Job:
    """One run of a plan to train. `state` is waiting, running, done, failed, blocked or interrupted."""

    plan: Plan
    key: Key
    title: str
    teacher: "Job | None" = None
    teacher_cache: Path | None = None
    teaches: bool = False
    state: str = "waiting"
    message: str = ""  # why it failed or is blocked
    process: Popen[bytes] | None = None
    progress: Progress = field(default_factory=lambda: Progress("waiting"))

    @property
    def folder(self) -> Path:
        return self.plan.folder / self.key.folder

    @property
    def name(self) -> str:
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


def record(plan: Plan) -> None:
    """Enters the plan into the folder's study.json; UserError where it would mix runs that do not compare.

    All runs of a study share the text; those of a scale and round the extra words too, and all seeds of a run its own
    settings. Runs and seeds add up.
    """
    path = plan.folder / "study.json"
    held = read_study(path) if path.exists() else Study(plan.data, plan.field, [])
    extra = list(plan.extra)
    name = (plan.scale, plan.round)
    part = next((part for part in held.plans if (part["scale"], part["round"]) == name), None)
    if part is None:
        part = {"scale": plan.scale, "round": plan.round, "extra": extra, "tuned": {}, "runs": {}}
        held.plans.append(part)
    tuned = {run: plan.own(run) for run in plan.runs}
    for setting, old, new in (
        ("data", held.data, plan.data),
        ("field", held.field, plan.field),
        (f"the options of {plan.scale} {plan.round}", part["extra"], extra),
        *((f"run {run} tuned by", part["tuned"].get(run, []), tuned[run]) for run in plan.runs if run in part["runs"]),
    ):
        if old != new:
            raise UserError(
                f"{path}: this study was started with {setting} {old!r}, now it is {new!r}, so its runs "
                "would not compare; use another folder, or the same setting"
            )
    part["tuned"].update({run: words for run, words in tuned.items() if words})
    for run in plan.runs:
        part["runs"][run] = sorted({*part["runs"].get(run, []), *plan.seeds})
    write_json(path, {"format": FORMAT, **asdict(held)})


def read_study(path: Path) -> Study:
    """study.json, validated."""
    fields = Fields(path, read_json(path))
    if fields.count("format") != FORMAT:
        raise fields.fault("format", str(FORMAT))
    parts = [read_part(Fields(path, part, "plans.")) for part in fields.items("plans")]
    return Study(fields.text("data"), fields.text("field"), parts)


def read_part(fields: Fields) -> dict[str, Any]:
    runs = fields.inside("runs")
    extra = fields.items("extra")
    if not all_of(str, extra) or not all(all_of(int, runs.items(run)) for run in runs.values):
        raise fields.fault("extra", "a list of texts, and every run a list of seeds")
    tuned = Fields(fields.path, {}) if fields.absent("tuned") else fields.inside("tuned")  # absent in older studies
    if not all(all_of(str, tuned.items(run)) for run in tuned.values):
        raise fields.fault("tuned", "a list of texts for each run")
    return {
        "scale": fields.text("scale"),
        "round": fields.text("round"),
        "extra": extra,
        "tuned": dict(tuned.values),
        "runs": dict(runs.values),
    }


def all_of(kind: type, values: Iterable[Any]) -> bool:
    return all(isinstance(value, kind) for value in values)
