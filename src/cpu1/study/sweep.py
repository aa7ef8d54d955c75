"""A sweep: runs of the ladder with settings or ingredients varied over seeds, in one table.

Every combination of the values, or each value alone beside the run as it is.

    <folder>/sweep.json  sweep.md                             the table, small
    <folder>/search.json                                      what a search decided, see `asha`
    <folder>/runs/<variant>/<run>-<scale>-<round>-s<seed>/    a study for each variant, like "rate=4e-3,ffn=ReLU2"

All variants see the same text: that of `--bytes`, or of run 07's round.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
from itertools import product
from pathlib import Path

from rich.console import Console

from cpu1 import device as devices
from cpu1.console import open_console
from cpu1.data.corpus import Corpus, describe
from cpu1.errors import UserError
from cpu1.files import write_atomic, write_json
from cpu1.model.network import parameter_count
from cpu1.model.recipe import Recipe
from cpu1.runs.settings import KNOBS, read_value
from cpu1.study.asha import Rule, Search
from cpu1.study.places import Place
from cpu1.study.plan import agreed, make_jobs, record
from cpu1.study.runner import TRAIN, at_work, run_jobs
from cpu1.study.start import Request, make_plan, measure_speeds, opened_place, prepare_text
from cpu1.study.sweep_table import Member, markdown, tabulate
from cpu1.training.lessons import open_cache
from cpu1.training.plan import Job, draft, make_recipe

PLAIN = "plain"  # the folder of runs with nothing varied
VALUE = re.compile(r"[\w.+-]+|\[[\w.+,-]+\]")  # what may be in the name of a folder
LATE = "what it changes comes late, and a search compares variants early"
UNFAIR = {  # settings and parts of the recipe that a search cannot choose
    **dict.fromkeys(("decay", "floor", "schedule", "ternary_start", "gate"), LATE),
    "steps": "at equal shares of their steps, the variants have read different amounts of text",
}
LONGEST = 200  # characters of such a name


@dataclass(frozen=True)
class Sweep:
    """A study's request, and what varies: setting or part of the recipe -> its values, as on the command line."""

    request: Request
    vary: Mapping[str, Sequence[str]]
    teacher: Path | None = None
    alone: bool = False  # the run as it is and each value by itself, not every combination
    search: Rule | None = None  # which of the variants are trained to their ends; None: all


def start(sweep: Sweep, console: Console | None = None, command: Sequence[str] = TRAIN) -> int:
    """Trains what is missing and writes the table; the exit status of the runner (0, 1 or 130).

    Raises UserError before anything is trained for names that nobody knows, values that do not fit, and a folder
    whose variants were made with other options.
    """
    console = console or open_console()
    with opened_place(sweep.request) as place:
        return _start(sweep, place, console, command)


def _start(sweep: Sweep, place: Place, console: Console, command: Sequence[str]) -> int:
    members = make_members(sweep)
    check_search(sweep, members)
    search = Search(sweep.search, sweep.request.folder) if sweep.search else None
    jobs = [planned(sweep, member, run) for member in members for run in member.plan.runs]
    recipes = [make_recipe(job) for job in jobs]
    with console.status("preparing the text"):
        corpus = prepare_text(sweep.request, recipes)
    check(jobs, recipes, corpus)
    members = [replace(member, plan=replace(member.plan, data_sha256=corpus.sha256)) for member in members]
    for member in members:
        agreed(member.plan)
    console.print(describe(corpus), highlight=False)

    with at_work(sweep.request.folder):
        for member in members:
            record(member.plan)
        plans = [(member.plan, dict.fromkeys(member.plan.runs, member.plan.name)) for member in members]
        queue = [job for plan, titles in plans for job in make_jobs(plan, {}, titles)]
        status = run_jobs(queue, members[0].plan.jobs, command, console, place, search)
    if status != 130:
        measure_speeds([member.plan.folder for member in members], console)
    table = tabulate(members, make_plan(sweep.request).extra, sweep.search)
    write_json(sweep.request.folder / "sweep.json", table)
    write_atomic(sweep.request.folder / "sweep.md", markdown(table))
    console.print(markdown(table), highlight=False, markup=False, soft_wrap=True)
    console.print(f"written: {sweep.request.folder}/sweep.json, {sweep.request.folder}/sweep.md", highlight=False)
    return status


def make_members(sweep: Sweep) -> list[Member]:
    """A plan for each combination of values, in the order of the command line. UserError for unknown names."""
    base = make_plan(sweep.request)
    known = (*KNOBS, *(field.name for field in fields(Recipe)))
    for name, values in sweep.vary.items():
        if name.partition(".")[0] not in known:
            raise UserError(f"--vary {name}: neither a setting nor a part of the recipe; known: {', '.join(known)}")
        for value in values:
            if not VALUE.fullmatch(value):
                raise UserError(
                    f"--vary {name}: {value!r} names a folder; use letters, digits and . + - _ only, or a list "
                    "like [3,4]"
                )
    if not sweep.vary:
        raise UserError("a sweep needs something to vary")
    members = []
    for variant in variants(sweep):
        name = ",".join(f"{key}={value}" for key, value in variant.items()) or PLAIN
        if len(name) > LONGEST:
            raise UserError(f"{name}: the variant's folder needs a name of at most {LONGEST} characters")
        extra = (*base.extra, *(word for item in variant.items() for word in option(*item)))
        extra = (*extra, "--teacher", str(sweep.teacher)) if sweep.teacher else extra
        extra = (*extra, "--teacher-cache", str(base.teacher_cache)) if base.teacher_cache else extra
        folder = base.folder / "runs" / name
        members.append(Member(variant, replace(base, folder=folder, extra=extra, name=name)))
    return members


def variants(sweep: Sweep) -> list[dict[str, str]]:
    """What is set in each variant, by name."""
    values = {name: tuple(dict.fromkeys(values)) for name, values in sweep.vary.items()}
    if sweep.alone:
        return [{}, *({name: value} for name in values for value in values[name])]
    return [dict(zip(values, chosen, strict=True)) for chosen in product(*values.values())]


def check_search(sweep: Sweep, members: Sequence[Member]) -> None:
    """Raises UserError for a search that could not tell its members apart by what they score early."""
    if sweep.search is None:
        return
    if len(members) < 2:
        raise UserError("--search: a search needs at least two variants; give --vary more values")
    for name in sweep.vary:
        if (reason := UNFAIR.get(name.partition(".")[0])) is not None:
            raise UserError(f"--vary {name} with --search: {reason}; leave out --search")


def option(name: str, value: str) -> tuple[str, str]:
    """The words of the training command that set one value."""
    return ("--set" if name in KNOBS else "--with", f"{name}={value}")


def planned(sweep: Sweep, member: Member, run: str) -> Job:
    """What the training command will make of a variant's words."""
    request = sweep.request
    settings = [(name, read_value(value)) for name, value in member.values.items() if name in KNOBS]
    changes = [(name, value) for name, value in member.values.items() if name not in KNOBS]
    return Job(
        run=run,
        folder=member.plan.folder,
        scale=request.scale,
        round=request.round,
        budget=request.budget,
        data=request.data,
        device=request.device,
        teacher=sweep.teacher,
        teacher_cache=request.teacher_cache,
        overrides=(*request.overrides, *settings),
        changes=(*request.changes, *changes),
    )


def check(jobs: Sequence[Job], recipes: Sequence[Recipe], corpus: Corpus) -> None:
    """Raises UserError for a variant that could not be trained: better now than after hours of the others."""
    for job, recipe in zip(jobs, recipes, strict=True):
        draft(job, recipe, corpus, devices.choose(job.device))
        parameter_count(recipe)  # builds the model, without memory for its weights
        if job.teacher_cache is not None:
            open_cache(job.teacher_cache, recipe, corpus)
        elif recipe.distill is not None and job.teacher is None:
            raise UserError(
                f"run {job.run} learns from a teacher: give --teacher with the folder of a trained run, "
                "or --teacher-cache with what `cpu1 teach` wrote"
            )
