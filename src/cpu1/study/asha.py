"""A search that stops the worse members of a sweep early: asynchronous successive halving.

ASHA (Li et al. 2018, "A System for Massively Parallel Hyperparameter Tuning", arXiv 1810.05934, Algorithm 2), by
bits per byte on the held-out learning curve. The paper's rungs are shares of a member's own steps, each `eta` times
the one below it. A member trains to the lowest rung and stops there, with a checkpoint. Of those that have reached a
rung, the best go further, one in `eta`, without waiting for members that are still on their way. A member that fails
is the worst of the rung it did not reach. Each run of the ladder has a search of its own.

The paper draws members at random and without end, and lets one go further before it draws another. A sweep's members
are a list, often sorted, in which each may be better than all before it. So here they all begin first, and lower rungs
come before higher ones: decisions know more, and nothing is trained for them that would not be trained anyway. When
nothing else is left to do, the best on the highest rung goes further, unless one that has finished was better there.

    <folder>/search.json    the rule, and the decisions in the order in which they were made

What members scored is in their run folders. So a search that was interrupted goes on with the decisions it had made.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from fractions import Fraction
from itertools import takewhile
from pathlib import Path
from typing import Final, Literal

from cpu1.errors import UserError
from cpu1.files import write_json
from cpu1.records import REMEDY, Count, read, to_json
from cpu1.runs.progress import progress
from cpu1.runs.settings import Settings
from cpu1.runs.trained import Metrics
from cpu1.study.plan import Job
from cpu1.training.loop import VALIDATIONS, curve_step

FORMAT: Final = 1
JOURNAL = "search.json"
END = Fraction(1)  # the last rung
UNDER_WAY = ("waiting", "queued", "running")  # states of jobs that have not come to where they may


@dataclass(frozen=True)
class Rule:
    """How members are chosen. UserError for rungs at which no run measures its held-out learning curve."""

    eta: int = 4  # one in this many goes further
    first: Fraction = Fraction(1, 16)  # the lowest rung, as a share of a run's steps

    def __post_init__(self) -> None:
        if self.eta < 2 or not 0 < self.first < END or any(float(rung) not in VALIDATIONS for rung in self.stops):
            raise UserError(
                f"a search with eta {self.eta} and a first stop at {self.first}: eta should be 2, 4, ..., and the "
                "stop 1/2, 1/4, ... 1/64, where runs measure their held-out learning curve"
            )

    @property
    def rungs(self) -> tuple[Fraction, ...]:
        """From the lowest to the end."""
        return (*self.stops, END)

    @property
    def stops(self) -> tuple[Fraction, ...]:
        """The rungs before the end."""
        shares = [self.first]
        while (share := shares[-1] * self.eta) < END:
            shares.append(share)
        return tuple(shares)


@dataclass(frozen=True)
class Decision:
    """That a member may train until a rung."""

    variant: str
    run: str
    until: str  # a share of its steps, like "1/4"


@dataclass(frozen=True)
class Journal:
    """search.json."""

    format: Literal[1]
    eta: Count
    rungs: tuple[str, ...]
    decisions: tuple[Decision, ...] = ()


@dataclass(eq=False)
class Contender:
    """One run of one variant, with all its seeds. `scores`: means over seeds at the rungs that all have reached."""

    variant: str
    run: str
    jobs: list[Job] = field(default_factory=list)
    rung: int = -1  # to which it may train; -1: it has not begun
    scores: list[float] = field(default_factory=list)  # bits per byte; infinite where it failed

    @property
    def waits(self) -> bool:
        """Whether it has come to where it may, and can go further."""
        return self.rung == len(self.scores) - 1 and bool(self.scores) and math.isfinite(self.scores[-1])

    @property
    def done(self) -> bool:
        """Whether it has finished."""
        return all(job.state == "done" for job in self.jobs)

    @property
    def settled(self) -> bool:
        """Whether none of its seeds trains, or is going to."""
        return not any(job.state in UNDER_WAY for job in self.jobs)


class Search:
    """The decisions of a search in the folder of a sweep.

    UserError for a folder whose search follows another rule. Nothing is written before the first decision.
    """

    def __init__(self, rule: Rule, folder: Path) -> None:
        self.rule, self.path = rule, folder / JOURNAL
        self.contenders: list[Contender] = []
        self.journal = self._read()

    def begin(self, jobs: Sequence[Job]) -> None:
        """Takes up members where their folders and the decisions of before have them."""
        self.journal = self._read()  # again, now that nobody else is at work in the folder
        found: dict[tuple[str, str], Contender] = {}
        for job in jobs:
            key = job.plan.name, job.key.run
            found.setdefault(key, Contender(*key)).jobs.append(job)
        for made in self.journal.decisions:
            if (contender := found.get((made.variant, made.run))) is not None:
                contender.rung = max(contender.rung, self.journal.rungs.index(made.until))
        self.contenders = list(found.values())
        for contender in self.contenders:
            self._take_up(contender)

    def grant(self, at_once: int) -> None:
        """Lets more members train, or the same ones further, where fewer than `at_once` runs are under way."""
        for contender in self.contenders:
            if contender.settled and len(contender.scores) < self._due(contender):
                self._look(contender)
        jobs = [job for contender in self.contenders for job in contender.jobs]
        free = at_once - sum(job.granted and job.state in UNDER_WAY for job in jobs)
        full = any(job.state == "queued" for job in jobs)  # a cluster without a free core
        for chosen in self._next(full):
            if free <= 0:
                return
            self._let_on(chosen)
            free -= len(chosen.jobs)

    def _read(self) -> Journal:
        new = Journal(FORMAT, self.rule.eta, tuple(map(str, self.rule.rungs)))
        held = read(Journal, self.path) if self.path.exists() else new
        if replace(held, decisions=()) != new:
            raise UserError(
                f"{self.path}: this search was started with eta {held.eta} and stops at {', '.join(held.rungs)}, now "
                f"they are {new.eta} and {', '.join(new.rungs)}; use another folder, or the same options"
            )
        if any(made.until not in held.rungs for made in held.decisions):
            raise UserError(f"{self.path}: a decision names no stop; {REMEDY}")
        return held

    def _take_up(self, contender: Contender) -> None:
        """Finds where a member is, and has the seeds wait that are not where it may train to."""
        scores = self._scores(contender)
        contender.rung = len(self.rule.stops) if contender.done else max(contender.rung, len(contender.scores) - 1)
        for job, reached in zip(contender.jobs, scores, strict=True):
            self._limit(job, contender.rung)
            if job.state == "waiting" and len(reached) > contender.rung >= 0:
                job.state, job.progress = "stopped", replace(progress(job.folder), bpb=reached[-1])

    def _scores(self, contender: Contender) -> list[list[float]]:
        """Each seed's scores so far, whose means become the member's."""
        scores = [scores_at(job.folder, self.rule.stops) for job in contender.jobs]
        contender.scores = means(scores)
        return scores

    def _limit(self, job: Job, rung: int) -> None:
        share = self.rule.rungs[rung]
        job.granted, job.until = rung >= 0, None if share == END else share

    def _look(self, contender: Contender) -> None:
        """Reads what a member that trains no more scored."""
        scores = self._scores(contender)
        for job, reached in zip(contender.jobs, scores, strict=True):
            if job.state == "stopped" and reached:
                job.progress = replace(job.progress, bpb=reached[-1])
        if any(job.state == "failed" for job in contender.jobs):
            contender.scores += [math.inf] * (self._due(contender) - len(contender.scores))

    def _due(self, contender: Contender) -> int:
        """How many scores a member has that came to where it may."""
        return min(contender.rung + 1, len(self.rule.stops))

    def _next(self, full: bool) -> Iterator[Contender]:
        """Who may begin or go further, one after the other. `full`: no core is free, so no decision is due."""
        yield from (contender for contender in self.contenders if contender.rung < 0)
        if full:
            return
        runs = dict.fromkeys(contender.run for contender in self.contenders)
        groups = [[contender for contender in self.contenders if contender.run == run] for run in runs]
        for rung in range(len(self.rule.stops)):
            for group in groups:
                reached = ranked(group, rung)
                yield from (one for one in reached[: len(reached) // self.rule.eta] if one.waits and one.rung == rung)
        for group in groups:
            if all(one.settled for one in group):
                yield from leader(group)

    def _let_on(self, contender: Contender) -> None:
        """Decides that a member trains to its next rung, and writes that down before it does."""
        contender.rung += 1
        made = Decision(contender.variant, contender.run, str(self.rule.rungs[contender.rung]))
        self.journal = replace(self.journal, decisions=(*self.journal.decisions, made))
        write_json(self.path, to_json(self.journal))
        for job in contender.jobs:
            self._limit(job, contender.rung)
            if job.state == "stopped":
                job.state = "waiting"


def ranked(group: Sequence[Contender], rung: int) -> list[Contender]:
    """Those that reached a rung, best first; of equals the one that the command line names first."""
    return sorted((one for one in group if len(one.scores) > rung), key=lambda one: one.scores[rung])


def leader(group: Sequence[Contender]) -> list[Contender]:
    """The best on the highest rung of those that can go further, but for whom a finished one was better there."""
    waiting = sorted((one for one in group if one.waits), key=lambda one: (-one.rung, one.scores[-1]))
    finished = [one for one in group if one.done]
    return [one for one in waiting if ranked([*finished, one], one.rung)[0] is one][:1]


def scores_at(folder: Path, rungs: Sequence[Fraction]) -> list[float]:
    """Bits per byte on the held-out learning curve at the rungs that a run has reached, from the lowest.

    Infinite where that is not a number. UserError for a damaged folder.
    """
    if not (folder / "settings.json").exists():
        return []
    steps = Settings.read(folder / "settings.json").steps
    lines = (line for line in Metrics.read(folder / "metrics.jsonl") if "valid_bpb" in line)
    found = {line["step"]: line["valid_bpb"] for line in lines}
    reached = takewhile(found.__contains__, (curve_step(rung, steps) for rung in rungs))
    return [math.inf if found[step] is None else found[step] for step in reached]


def means(scores: Sequence[Sequence[float]]) -> list[float]:
    """Over seeds, at the rungs that all have reached."""
    return [sum(each) / len(each) for each in zip(*scores, strict=False)]
