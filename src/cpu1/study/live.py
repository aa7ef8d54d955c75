"""How a study shows its runs: a live table in a terminal, plain lines anywhere else."""

import time
from collections.abc import Sequence
from types import TracebackType
from typing import Protocol

from rich import box
from rich.console import Console, Group
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from cpu1.console import is_narrow
from cpu1.study.plan import Job

STYLES = {
    "done": "green",
    "running": "cyan",
    "stopped": "blue",
    "failed": "red",
    "blocked": "red",
    "interrupted": "yellow",
}
SUMMARY_SECONDS = 10.0
BAR_WIDTH = 16
FRAME_LINES = 6  # of the table: heading, rules, totals


class View(Protocol):
    """Something that shows jobs while it is entered."""

    def __enter__(self) -> "View": ...

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None: ...

    def show(self, jobs: Sequence[Job]) -> None:
        """Called a few times a second."""


def make_view(console: Console, jobs: Sequence[Job], at_once: int) -> View:
    """The table where the console is a terminal that is wide enough, else plain lines."""
    return LiveView(console, at_once) if console.is_terminal and not is_narrow() else PlainView(console, jobs, at_once)


class LiveView:
    """One row a run, and a line of totals, redrawn in place."""

    def __init__(self, console: Console, at_once: int):
        self.console, self.at_once = console, at_once
        self.began = time.monotonic()
        self.live = Live(console=console, auto_refresh=False, redirect_stdout=False, redirect_stderr=False)

    def __enter__(self) -> "LiveView":
        self.live.__enter__()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.live.__exit__(kind, value, trace)

    def show(self, jobs: Sequence[Job]) -> None:
        """Draws the table again."""
        shown = fitting(jobs, max(self.console.height - FRAME_LINES, 4))
        totals = summary(jobs, self.at_once, time.monotonic() - self.began)
        if len(shown) < len(jobs):
            totals += f"; {len(jobs) - len(shown)} rows not shown"
        self.live.update(Group(table(shown), Text(totals)), refresh=True)


class PlainView:
    """A line for each change of a run's state, and a summary now and then."""

    def __init__(self, console: Console, jobs: Sequence[Job], at_once: int):
        self.console, self.at_once = console, at_once
        self.began = self.said = time.monotonic()
        self.states = {job: (job.state, job.until) for job in jobs}

    def __enter__(self) -> "PlainView":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.console.print(Text(summary(list(self.states), self.at_once, time.monotonic() - self.began)))

    def show(self, jobs: Sequence[Job]) -> None:
        """Prints a line for each job whose state changed, and a summary now and then."""
        for job in jobs:
            if (job.state, job.until) != self.states[job]:
                self.states[job] = job.state, job.until
                self.say(f"{job.name} {job.state}{limit(job)}{reached(job)}")
        if time.monotonic() - self.said >= SUMMARY_SECONDS:
            self.said = time.monotonic()
            self.say(summary(jobs, self.at_once, self.said - self.began))

    def say(self, line: str) -> None:
        """Prints a line."""
        self.console.print(Text(line), soft_wrap=True)


def limit(job: Job) -> str:
    """How far a search lets a run go, behind its state on a plain line."""
    where = {"running": "to", "stopped": "at"}.get(job.state)
    return f" {where} {job.until} of its steps" if where and job.until else ""


def reached(job: Job) -> str:
    """How far a run came, behind its state on a plain line."""
    if job.message:
        return f": {job.message.splitlines()[0]}"
    return f": {job.progress.bpb:.3f} BPB" if job.progress.bpb is not None else ""


def table(jobs: Sequence[Job]) -> Table:
    """The live table."""
    made = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for heading in ("Run", "Title", "State", "Progress"):
        made.add_column(heading, no_wrap=True, overflow="ellipsis")
    for heading in ("Bytes/s", "Loss", "BPB", "Left"):
        made.add_column(heading, justify="right", no_wrap=True)
    for job in jobs:
        now = job.progress
        name = job.key.run if job.key.seed == 0 else f"{job.key.run} s{job.key.seed}"
        made.add_row(
            name,
            Text(job.title or now.title),
            Text(job.state, style=STYLES.get(job.state, "dim")),
            ProgressBar(total=1.0, completed=now.share, width=BAR_WIDTH, complete_style="cyan", finished_style="green"),
            "" if now.bytes_per_s is None else f"{now.bytes_per_s:,.0f}",
            "" if now.loss is None else f"{now.loss:.3f}",
            "" if now.bpb is None else f"{now.bpb:.3f}",
            clock(now.seconds_left) if job.state == "running" and not job.until else "",
        )
    return made


def fitting(jobs: Sequence[Job], height: int) -> list[Job]:
    """As many rows as a terminal holds: what runs or went wrong first, then what waits, then what is done."""
    importance = {"running": 0, "failed": 1, "blocked": 1, "interrupted": 1, "stopped": 3, "done": 3}  # others: 2
    kept = sorted(range(len(jobs)), key=lambda i: importance.get(jobs[i].state, 2))[:height]
    return [jobs[i] for i in sorted(kept)]


def summary(jobs: Sequence[Job], at_once: int, elapsed: float) -> str:
    """The totals in one line."""
    counts = {state: sum(job.state == state for job in jobs) for state in ("running", "queued", "waiting", *STYLES)}
    parts = [f"{counts['done']} of {len(jobs)} done"]
    parts += [f"{count} {state}" for state, count in counts.items() if count and state != "done"]
    left = seconds_left(jobs, at_once)
    return ", ".join(parts) + f"; elapsed {clock(elapsed)}" + (f", about {clock(left)} left" if left else "")


def seconds_left(jobs: Sequence[Job], at_once: int) -> float | None:
    """An estimate for the whole study: waiting runs are taken to last as long as the others do on average.

    None where nobody can know: at the beginning, and in a search.
    """
    if any(job.until for job in jobs):
        return None
    looks = [job.progress for job in jobs if job.state in ("running", "done")]
    totals = [look.seconds + look.seconds_left for look in looks if look.seconds and look.seconds_left is not None]
    running = [job.progress.seconds_left or 0.0 for job in jobs if job.state == "running"]
    waiting = sum(job.state in ("queued", "waiting") for job in jobs)
    if not totals or not (running or waiting):
        return None
    at_once = min(at_once, max(len(running), 1))  # a cluster has fewer cores than runs
    return max([(sum(running) + waiting * sum(totals) / len(totals)) / at_once, *running])


def clock(seconds: float | None) -> str:
    """Seconds as m:ss or h:mm:ss."""
    if seconds is None:
        return ""
    minutes, second = divmod(round(seconds), 60)
    hours, minute = divmod(minutes, 60)
    return f"{hours}:{minute:02d}:{second:02d}" if hours else f"{minute}:{second:02d}"
