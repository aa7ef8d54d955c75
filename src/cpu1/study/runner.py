"""Trains what a study is missing: one process a run, a few at once, to be stopped and taken up at any time.

A run with a result.json is done and never started again; an unfinished one continues from its last checkpoint,
which is the training command's business. Where the processes run is `places`; one that is lost with its machine is
started again.
"""

import contextlib
import signal
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import FrameType
from typing import Any

from rich.console import Console
from rich.text import Text

from cpu1.console import open_console
from cpu1.files import is_locked, locked, write_json
from cpu1.runs.folders import LOCK
from cpu1.runs.progress import progress
from cpu1.study.asha import Search
from cpu1.study.live import View, make_view
from cpu1.study.places import Here, Launch, Place
from cpu1.study.plan import Job, Plan, make_jobs, record, with_teachers

TRAIN = (sys.executable, "-m", "cpu1", "train")
TICK = 0.25  # seconds between two looks at the processes
SAVING = 30.0  # seconds that interrupted runs get to save
ENDING = 2.0  # seconds that any other process gets to end, before it is ended by force
MOST_LOST = 5  # times that a run may be lost without a step further: it may be what ends its machines
HERE = Here()
AT_WORK = ("queued", "running")  # states of jobs that have a process; a queued one waits for cores where that runs


def run_study(
    plan: Plan,
    teachers: Mapping[str, str],
    titles: Mapping[str, str] | None = None,
    command: Sequence[str] = TRAIN,
    console: Console | None = None,
    beside: Mapping[str, Any] | None = None,
    place: Place = HERE,
) -> int:
    """Trains the runs of `plan` that are not done, and shows how they come on.

    teachers: each student's teacher, e.g. {"14": "02"}; it is added to the plan, trained first and handed on
    as `--teacher FOLDER`. titles: what to call runs that have not started. command: the training command. beside:
    JSON files of the study's folder, written with its plan. place: where the processes run.

    Returns 0 when all are done, 1 when some failed (listed; the others finish), 130 when interrupted by
    SIGINT, SIGTERM or SIGHUP (runs are asked to save). UserError: a plan that does not fit the folder, or a
    folder in which another study is at work.
    """
    plan = with_teachers(plan, teachers)
    with at_work(plan.folder):
        record(plan, beside)
        jobs = make_jobs(plan, teachers, titles or {})
        return run_jobs(jobs, plan.jobs, command, console or open_console(), place)


def run_jobs(
    jobs: Sequence[Job],
    at_once: int,
    command: Sequence[str],
    console: Console,
    place: Place = HERE,
    search: Search | None = None,
) -> int:
    """Trains what is not done of `jobs`, which may be of several plans, `at_once` at a time; the exit status.

    search: decides which of them train, and how far; None: all, to their ends.
    """
    for job in jobs:
        place.fetch(job.folder)
        if (job.folder / "result.json").exists():
            job.state, job.progress = "done", progress(job.folder)
    if search is not None:
        search.begin(jobs)
    with Stop() as stop:
        try:
            with make_view(console, jobs, at_once) as view:
                work(jobs, at_once, command, view, stop, place, search)
                if stop.asked:
                    save(jobs, view, stop)
        finally:
            end(jobs)
    return report(jobs, console, stop.asked > 0)


def work(
    jobs: Sequence[Job],
    at_once: int,
    command: Sequence[str],
    view: View,
    stop: "Stop",
    place: Place,
    search: Search | None,
) -> None:
    """Starts and watches processes until none is left to start or wait for, or until asked to stop.

    A run in whose folder another process trains is waited for: it outlived a study that was killed.
    """
    queue = sorted(jobs, key=lambda job: (job.plan.seeds.index(job.key.seed), not job.teaches))
    while not stop.asked:
        settle(jobs)
        if search is not None:
            search.grant(at_once)
        waiting = [job for job in queue if job.state == "waiting"]
        held = [job for job in waiting if is_locked(job.folder / LOCK)]
        free = at_once - len(held) - sum(job.state in AT_WORK for job in jobs)
        for job in [job for job in waiting if job not in held and ready(job)][: max(free, 0)]:
            start(job, command, place)
        view.show(jobs)
        if not any(job.state in ("waiting", *AT_WORK) for job in jobs):
            return
        time.sleep(TICK)


def ready(job: Job) -> bool:
    """Whether a waiting run may start; one whose teacher will never be done is blocked instead."""
    if not job.granted:
        return False
    if job.teacher is None or job.teacher.state == "done":
        return True
    if job.teacher.state in ("failed", "blocked", "interrupted"):
        job.state = "blocked"
        job.message = f"not started: its teacher {job.teacher.key.folder} {job.teacher.state}"
        job.folder.mkdir(exist_ok=True)
        write_json(job.folder / "error.json", {"error": job.message})
    return False


def start(job: Job, command: Sequence[str], place: Place) -> None:
    """Starts a run."""
    plan, key = job.plan, job.key
    words = [*command, key.run, "--scale", key.scale, "--round", key.round, "--seed", str(key.seed)]
    words += ["--data", plan.data, *(["--field", plan.field] if plan.field else []), "--out", str(job.folder)]
    words += ["--threads", str(plan.threads), "--device", plan.device, "--quiet"]
    words += ["--teacher", str(job.teacher.folder)] if job.teacher else []
    words += ["--teacher-cache", str(job.teacher_cache)] if job.teacher_cache else []
    words += [*plan.track, *plan.extra]
    words += [word for setting in plan.own(key.run) for word in ("--set", setting)]
    words += ["--until", str(job.until)] if job.until else []
    job.folder.mkdir(exist_ok=True)
    (job.folder / "error.json").unlink(missing_ok=True)
    teacher = job.teacher.folder if job.teacher else None
    text = plan.data, plan.field, plan.data_sha256
    launch = Launch(tuple(words), job.folder, teacher, *text, plan.threads, plan.device, stops=job.until is not None)
    job.process = place.start(launch)
    job.state = "queued"
    settle([job])


def settle(jobs: Sequence[Job], stopping: bool = False) -> None:
    """Looks at every process; a run whose process has ended gets its final state, and one that was lost waits again."""
    for job in jobs:
        if job.state not in AT_WORK or job.process is None:
            continue
        if job.state == "queued" and job.process.begun():
            job.state, job.message = "running", ""
        if job.process.alive():
            job.progress = job.process.look()
            continue
        job.state, job.message = job.process.outcome()
        if job.state == "lost":
            lose(job, stopping)
        else:
            job.progress = progress(job.folder)


def lose(job: Job, stopping: bool) -> None:
    """What becomes of a run that was lost with its machine: it goes on elsewhere from its newest checkpoint."""
    job.lost = job.lost + 1 if job.progress.step <= job.lost_at else 1
    job.lost_at = job.progress.step
    if stopping:
        job.state = "interrupted"
    elif job.lost < MOST_LOST:
        job.state = "waiting"
    else:
        job.state, job.message = "failed", f"{job.message} {job.lost} times without a step further"
        write_json(job.folder / "error.json", {"error": job.message})


def save(jobs: Sequence[Job], view: View, stop: "Stop") -> None:
    """Asks the running runs once to save and leave, and waits for them; a second signal waits no longer."""
    asked, deadline = stop.asked, time.monotonic() + SAVING
    for job in jobs:
        if job.process and job.process.alive():
            job.process.ask()
    while any(job.state in AT_WORK for job in jobs) and time.monotonic() < deadline and stop.asked == asked:
        settle(jobs, stopping=True)
        view.show(jobs)
        time.sleep(TICK)


def end(jobs: Sequence[Job]) -> None:
    """Leaves no process behind, whatever happened: by request, then by force, with its own children."""
    alive = [job.process for job in jobs if job.process and job.process.alive()]
    for process in alive:
        process.terminate()
    deadline = time.monotonic() + ENDING
    while any(process.alive() for process in alive) and time.monotonic() < deadline:
        time.sleep(ENDING / 100)
    for process in alive:
        process.kill()
    for job in jobs:
        if job.state in AT_WORK:
            job.state = "interrupted"


def report(jobs: Sequence[Job], console: Console, interrupted: bool) -> int:
    """Says how it ended; returns the exit status."""
    for job in jobs:
        if job.state in ("failed", "blocked"):
            console.print(Text(f"{job.name} {job.state}: {job.message}", style="red"))
    done, others = sum(job.state == "done" for job in jobs), sum(job.state == "interrupted" for job in jobs)
    if interrupted or others:
        console.print(Text(f"Stopped with {done} of {len(jobs)} runs done. To go on, run the same command again."))
    stopped = sum(job.state == "stopped" for job in jobs)  # by a search, which is no failure
    return 130 if interrupted else int(done + stopped < len(jobs))


class Stop:
    """Counts the signals that ask to stop, instead of their usual handling, while it is entered.

    A terminal that closes (SIGHUP) counts too, unless that signal was being ignored (nohup).
    """

    def __init__(self) -> None:
        self.asked = 0
        self.before: dict[signal.Signals, object] = {}

    def __enter__(self) -> "Stop":
        if threading.current_thread() is threading.main_thread():  # only there can signals be handled
            for name in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
                if name != signal.SIGHUP or signal.getsignal(name) != signal.SIG_IGN:
                    self.before[name] = signal.signal(name, self.count)
        return self

    def count(self, number: int, frame: FrameType | None) -> None:
        """The handler of signals: counts how often a stop was asked for."""
        self.asked += 1

    def __exit__(self, *exception: object) -> None:
        for name, handler in self.before.items():
            signal.signal(name, handler)  # type: ignore[arg-type]


def at_work(folder: Path) -> contextlib.AbstractContextManager[None]:
    """Makes the folder and holds it against a second study, which would train the same runs; ends with the process."""
    return locked(folder / LOCK, held=f"{folder}: another study is at work here; wait for it, or stop it")
