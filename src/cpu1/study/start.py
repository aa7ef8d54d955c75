"""A study from its words to its report: text, baselines, runs, speeds, report."""

import os
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from rich.console import Console

from cpu1.console import open_console
from cpu1.data.bpe import tokenize
from cpu1.data.corpus import Corpus, describe, prepare
from cpu1.data.sources import files
from cpu1.errors import UserError
from cpu1.evaluation.baselines import baselines
from cpu1.evaluation.report import EXCERPT_BYTES
from cpu1.evaluation.speed import measure
from cpu1.files import apart
from cpu1.model import ladder
from cpu1.model.network import parameter_count
from cpu1.model.recipe import Recipe, changed
from cpu1.report.render.terminal import print_report
from cpu1.report.write import FILES, write_report
from cpu1.runs.folders import Key
from cpu1.runs.settings import KNOBS
from cpu1.study.places import Place
from cpu1.study.plan import agreed
from cpu1.study.runner import HERE, Plan, run_study
from cpu1.teachers.cache import Cache
from cpu1.training.plan import Budget
from cpu1.training.tracking import tracker

# Into the folder of a study or a sweep.
WRITTEN = (*FILES, "study.json", "baselines.json", "sweep.json", "sweep.md", "search.json")
MANY = 1000  # runs that a cluster is given at once
REFERENCE_RUN = "07"  # whose round gives the bytes of a study with equal bytes


@dataclass(frozen=True)
class Request:
    """What is asked of a study."""

    folder: Path
    runs: str  # names with commas between, or "all"
    seeds: int
    scale: str
    round: str
    budget: Budget | None
    equal_bytes: bool
    data: str
    field: str
    jobs: int | None
    threads: int
    device: str
    overrides: tuple[tuple[str, int | float | str], ...]  # of settings
    changes: tuple[tuple[str, str], ...]  # of recipes
    eval_bytes: int
    tuned: tuple[tuple[str, str], ...] = ()  # run, and a setting that it alone gets, like "rate=3e-3"
    teacher_cache: Path | None = None  # of runs that learn from one, instead of a run; in a sweep of all
    on: str | None = None  # a Ray cluster, see `cluster.connected`; None: this machine
    store: str | None = None  # an address for the run folders, where a cluster's nodes do not see `folder`
    track: tuple[str, ...] = ()  # trackers that follow the runs
    track_to: Path | None = None  # where they keep their files


def start(request: Request, console: Console | None = None) -> int:
    """Runs what is missing and writes the report; the exit status of the runner (0, 1 or 130)."""
    console = console or open_console()
    with opened_place(request) as place:
        return _start(request, place, console)


@contextmanager
def opened_place(request: Request) -> Iterator[Place]:
    """Where the runs are trained. UserError for a cluster that is not there, and an address without one."""
    if request.on is None:
        if request.store is not None:
            raise UserError(f"--store {request.store}: is for a cluster; add --on ray, or name a folder with --out")
        yield HERE
        return
    from cpu1.study.on_ray import ray_place

    with ray_place(request.on, request.folder, request.store) as place:
        yield place


def _start(request: Request, place: Place, console: Console) -> int:
    plan = make_plan(request)
    recipes = [changed(ladder.recipe(run, request.scale), request.changes) for run in plan.runs]
    with console.status("preparing the text"):
        corpus = prepare_text(request, recipes)
        plan = replace(plan, data_sha256=corpus.sha256)
        agreed(plan)
        if request.teacher_cache:
            _check_cache(request.teacher_cache, plan, corpus)
        documents = corpus.select("valid", request.eval_bytes, EXCERPT_BYTES)
        lines = baselines(corpus.splits["train"], documents)
    console.print(describe(corpus), highlight=False)

    teachers = _teachers()
    titles = {run: rung.title for run, rung in ladder.LADDER.items()}
    beside = {"baselines.json": {name: asdict(line) for name, line in lines.items()}}
    status = run_study(plan, teachers, titles, console=console, beside=beside, place=place)
    if status == 130:
        return status

    measure_speeds([request.folder], console)
    print_report(write_report(request.folder), console)
    where = request.folder
    console.print(f"written: {where}/report.md, {where}/report.json, {where}/report.html", highlight=False)
    return status


def measure_speeds(studies: Sequence[Path], console: Console) -> None:
    """Generation speeds of finished runs, of all of them in turn if one has none: apart they would not compare.

    Runs that were published without their weights keep what they have.
    """
    done = [path.parent for study in studies for path in sorted(study.glob("*/result.json"))]
    finished = [folder for folder in done if Key.of(folder.name) and (folder / "model.safetensors").exists()]
    if any(not (folder / "speed.json").exists() for folder in finished):
        with console.status("measuring generation speed, run by run"):
            measure(finished)


def _teachers() -> dict[str, str]:
    return {run: rung.teacher for run, rung in ladder.LADDER.items() if rung.teacher}


def _check_cache(folder: Path, plan: Plan, corpus: Corpus) -> None:
    if not set(_teachers()) & set(plan.runs):
        raise UserError(
            f"--teacher-cache: in a study it teaches runs {' and '.join(_teachers())}, beside which others stay as "
            "they are, and none of the two was asked for; `cpu1 train` and `cpu1 sweep` take it for any run"
        )
    Cache(folder).check(corpus)


def make_plan(request: Request) -> Plan:
    """What the runner is to train. UserError for runs that the ladder does not have."""
    names = tuple(ladder.LADDER) if request.runs == "all" else tuple(request.runs.split(","))
    runs = tuple(ladder.find(name.strip()).run for name in names)
    return Plan(
        folder=request.folder,
        runs=runs,
        tuned=tuple(_tuned(request.tuned, runs)),
        seeds=tuple(range(request.seeds)),
        scale=request.scale,
        round=request.round,
        data=request.data,
        field=request.field,
        jobs=request.jobs or _at_once(request),
        threads=request.threads,
        device=request.device,
        teacher_cache=request.teacher_cache,
        extra=_extra(request),
        track=_track(request),
    )


def _at_once(request: Request) -> int:
    """One run a core. A cluster is given them all: it knows its cores, and may have more later."""
    return MANY if request.on else max(1, (os.cpu_count() or 1) // request.threads)


def _track(request: Request) -> tuple[str, ...]:
    tracker.check(request.track)
    words = [word for kind in request.track for word in ("--track", kind)]
    store = request.track_to or (None if request.on else request.folder)  # machines of a cluster share no database
    return (*words, "--track-to", str(store)) if words and store else tuple(words)


def _tuned(asked: Iterable[tuple[str, str]], runs: tuple[str, ...]) -> Iterator[tuple[str, str]]:
    """Runs and settings of their own, checked: better now than when the run is due."""
    for name, setting in asked:
        run = ladder.find(name).run
        if run not in runs:
            raise UserError(f"--tune {name}:{setting}: run {run} is not in this study; it has {', '.join(runs)}")
        if setting.partition("=")[0] not in KNOBS:
            raise UserError(f"--tune {name}:{setting}: not a setting; known: {', '.join(KNOBS)}")
        yield run, setting


def prepare_text(request: Request, recipes: Iterable[Recipe]) -> Corpus:
    """The text and each tokenizer, made once, before runs at the same time would each do it."""
    if request.data == "-":
        raise UserError("the text is read more than once: save standard input to a file first")
    for name in WRITTEN:
        apart(request.folder / name, files(request.data))
    corpus = prepare(request.data, field=request.field)
    for vocabulary in {recipe.embedding.vocabulary for recipe in recipes if recipe.level == "token"}:
        tokenize(corpus, vocabulary)
    return corpus


def _extra(request: Request) -> tuple[str, ...]:
    """The words of `cpu1 train` that the plan itself does not hold."""
    words = ["--eval-bytes", str(request.eval_bytes)]
    if request.equal_bytes:
        units = ladder.ROUNDS[request.round].units_per_parameter
        words += ["--bytes", str(round(units * parameter_count(ladder.recipe(REFERENCE_RUN, request.scale))))]
    elif request.budget is not None and request.budget.bytes is not None:
        words += ["--bytes", str(request.budget.bytes)]
    elif request.budget is not None and request.budget.minutes is not None:
        words += ["--minutes", str(request.budget.minutes)]
    for name, value in request.overrides:
        words += ["--set", f"{name}={value}"]
    for name, value in request.changes:
        words += ["--with", f"{name}={value}"]
    return tuple(words)
