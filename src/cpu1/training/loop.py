"""The training loop: flat, to be read from top to bottom.

A run is a pure function of its recipe and settings: interrupted at any step and started again, it ends
with the same weights, bit for bit, on the same machine with the same number of threads and processes.
Several processes run this same loop (`parallel`): they differ in their rows of the batch and in who writes.

Shapes: B windows, N units in one.
"""

import math
import signal
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from fractions import Fraction
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from cpu1 import ops
from cpu1.data.order import Windows
from cpu1.model.network import Model, build
from cpu1.model.recipe import Recipe
from cpu1.runs.settings import Settings
from cpu1.runs.trained import Metrics
from cpu1.training import ahead, guards
from cpu1.training.checkpoint import Checkpoints, Progress
from cpu1.training.lessons import StepTeacher
from cpu1.training.optim import optimizer as make_optimizer
from cpu1.training.parallel import Group
from cpu1.training.step import Step, Windowed, set_phase, step

LOG_LINES = 200  # about that many lines of metrics a run
# Points of the held-out learning curve, as shares of the steps.
VALIDATIONS = (1 / 64, 1 / 32, 1 / 16, 1 / 8, 1 / 4, 3 / 8, 1 / 2, 5 / 8, 3 / 4, 7 / 8, 1)
CHECKPOINT_SECONDS = 60.0
ENDING = {signal.SIGINT, signal.SIGTERM, getattr(signal, "SIGHUP", signal.SIGTERM)}  # a closed terminal hangs up
MEAN = 0.98  # decay of the running mean of the loss


class Interrupted(Exception):
    """SIGINT, SIGTERM or SIGHUP arrived; the run is saved and can be resumed."""


class Reached(Interrupted):
    """The run has come as far as it was asked to (`Hooks.until`); it is saved and can be resumed."""


def curve_step(share: float | Fraction, steps: int) -> int:
    """The step of a point of the held-out learning curve, from its share of a run's steps."""
    return round(share * steps)


class Windowing(Protocol):
    """What a lookup finds for windows anywhere in a text (`lookups.text`)."""

    def windows(self, starts: NDArray[np.int64], length: int) -> NDArray[Any]: ...
    def whole(self) -> NDArray[Any]: ...


@dataclass(frozen=True)
class Text:
    """What a run reads: the training stream of units and what the guards and figures need to know of it."""

    stream: NDArray[Any]  # of units, something in the place of a separator
    unit_bytes: NDArray[np.int64]  # bytes of each unit; the separator has none
    frequency_loss: float  # nats a unit of predicting by frequency alone
    lookups: tuple[Windowing, ...] = ()  # what its windows find, for each lookup of the model
    ends: NDArray[np.int64] | None = None  # the places of separators; None: the stream holds them
    separator: int = 0

    def windows(self, length: int, seed: int) -> Windows:
        """The order of its windows."""
        return Windows(self.stream, length, seed, self.ends, self.separator)

    def units(self) -> NDArray[Any]:
        """All units, separators included, as a copy in memory."""
        if self.ends is None:
            return np.array(self.stream)
        units = self.stream.astype(np.int16)
        units[self.ends] = self.separator
        return units

    def found(self, places: NDArray[np.int64], length: int, device: torch.device) -> list[Tensor]:
        """What each lookup found for the windows at `places`, on a device."""
        return [torch.from_numpy(lookup.windows(places, length)).to(device) for lookup in self.lookups]


@dataclass(frozen=True)
class Hooks:
    """What the loop reports to its caller, and what it gets from it."""

    validate: Callable[[Model], float]  # held-out bits per byte
    report: Callable[[dict[str, Any]], None] = lambda line: None  # each line of metrics
    teacher: StepTeacher | None = None
    weights: Mapping[str, Tensor] | None = None  # to start from; None: those of the seed, or of a checkpoint
    checkpoint_seconds: float = CHECKPOINT_SECONDS
    until: int | None = None  # the step after which to save and stop; None: the last


def run(
    folder: Path, recipe: Recipe, settings: Settings, text: Text, hooks: Hooks, group: Group
) -> tuple[Model, Progress]:
    """Trains from the newest checkpoint in `folder`, or from the start, to the last step.

    Raises Interrupted (saved), Reached where it was to stop before that, or guards.RunStopped (saved).
    """
    # ------------------------------------------------------------------ model, optimiser, position
    ops.retain_memory()
    model = build(recipe, settings.seed).train()
    if hooks.weights:
        model.load_state_dict(hooks.weights, strict=False)  # all but what only a teacher needs: `start.fitting`
    replica = group.wrap(model)
    optimizer = make_optimizer(model, settings)
    checkpoints = Checkpoints(folder / "checkpoints", f"{recipe.hash()} {settings.to_json()}", group)
    progress = checkpoints.resume(model, optimizer)
    windows = text.windows(settings.window, settings.seed)
    metrics = Metrics(folder / "metrics.jsonl", progress.step) if group.leads else None
    watch = guards.TernaryWatch()
    watch.measure(group.whole(model))
    log_every = max(1, settings.steps // LOG_LINES)
    validated = {curve_step(share, settings.steps) for share in VALIDATIONS}
    until = settings.steps if hooks.until is None else hooks.until
    read = {*range(0, settings.steps + 1, log_every), *validated, guards.GRACE, settings.steps}
    interval = Interval(progress)
    saved = time.monotonic()
    queue = None  # of steps that a GPU has still to do
    if ahead.suits(model, optimizer, hooks.teacher, group):
        queue = ahead.Ahead(replica, model, optimizer, text.units(), settings, group, text.lookups)

    with signals_caught() as signals:
        while progress.step < until:
            # ---------------------------------------------------------- one step
            begun = time.monotonic()
            places = windows.starts(progress.step, settings.batch)
            batch = windows.read(places)
            if queue is None:
                mine = group.rows(places)
                own = Windowed(group.share(batch), mine, text.found(mine, settings.window, group.device))
                interval.count(step(replica, optimizer, own, progress.step, settings, hooks.teacher, group))
            else:
                interval.count(*queue.take(places, progress.step, wait=progress.step + 1 in read))
            progress.step += 1
            progress.units += batch.size
            progress.bytes += int(text.unit_bytes[batch].sum())
            progress.seconds += time.monotonic() - begun

            # ---------------------------------------------------------- metrics
            last = progress.step == settings.steps
            held_out: list[float] = []  # bits per byte, measured by one process and judged by all
            if progress.step % log_every == 0 or progress.step in validated:
                whole = group.whole(model)
                if metrics is not None:
                    line = interval.line(progress, settings.rate_at(progress.step - 1)) | watch.measure(whole)
                    if progress.step in validated:
                        held_out = [hooks.validate(whole)]
                        line["valid_bpb"] = held_out[0] if math.isfinite(held_out[0]) else None
                    metrics.write(**line)
                    hooks.report(line)
                interval = Interval(progress)

            # ---------------------------------------------------------- guards
            try:
                guards.check_finite(progress.nonfinite, progress.step, last)
                known = hooks.weights is not None or settings.start is None
                if progress.step == guards.GRACE and not progress.nonfinite and known:
                    guards.check_all_tensors_learn(group.whole(model), settings.seed, hooks.weights)
                guards.check_learning(progress.loss_mean, text.frequency_loss, progress.step, settings.warmup_steps)
                if last:
                    guards.check_held_out(progress.step, *group.first(held_out))
            except guards.RunStopped:
                checkpoints.save(model, optimizer, progress)
                raise

            # ---------------------------------------------------------- checkpoint
            asked, due = group.any(bool(signals), time.monotonic() - saved > hooks.checkpoint_seconds)
            reached = progress.step == until
            if asked or due or reached:
                interval.count(*(queue.figures() if queue is not None else ()))
                checkpoints.save(model, optimizer, progress)
                saved = time.monotonic()
            if asked and not reached:
                raise Interrupted
    if progress.step < settings.steps:
        raise Reached
    set_phase(model, settings, progress.step)  # what is deployed is ternary, however late that began
    return group.whole(model).eval(), progress


def mean_loss(progress: Progress, nats: float) -> float:
    """The running mean of the loss in nats a unit after one more step."""
    return nats if not progress.loss_mean else MEAN * progress.loss_mean + (1 - MEAN) * nats


def seconds_a_step(
    recipe: Recipe, settings: Settings, text: Text, teacher: StepTeacher | None, group: Group, count: int = 12
) -> float:
    """The median time of a training step, measured on a model that is thrown away."""
    model = build(recipe, settings.seed).train()
    replica = group.wrap(model)
    optimizer, windows = make_optimizer(model, settings), text.windows(settings.window, settings.seed)
    times = []
    for number in range(count):
        begun = time.monotonic()
        places = windows.starts(number, settings.batch)
        mine = group.rows(places)
        own = Windowed(group.share(windows.read(places)), mine, text.found(mine, settings.window, group.device))
        step(replica, optimizer, own, number, replace(settings, steps=count), teacher, group)
        times.append(time.monotonic() - begun)
    return group.first(sorted(times)[count // 2])


class Interval:
    """Means between two lines of metrics, and the largest gradient; steps that were not finite do not count.

    It keeps `progress` up to date about them.
    """

    def __init__(self, progress: Progress) -> None:
        self.progress = progress
        self.start = (progress.bytes, progress.units, progress.seconds)
        self.nats: list[float] = []
        self.norms: list[float] = []
        self.deleted: list[float] = []

    def count(self, *steps: Step) -> None:
        """Takes in what steps gave, in their order."""
        for done in steps:
            if not done.finite:
                self.progress.nonfinite += 1
                continue
            self.progress.loss_mean = mean_loss(self.progress, done.nats)
            self.nats.append(done.nats)
            self.norms.append(done.norm)
            if done.deleted is not None:
                self.deleted.append(done.deleted)

    def line(self, progress: Progress, rate: float) -> dict[str, Any]:
        """The line of metrics.jsonl for the steps since the last one, at a learning rate."""
        count, units, seconds = (now - then for now, then in zip(
            (progress.bytes, progress.units, progress.seconds), self.start, strict=True))  # fmt: skip
        loss = sum(self.nats) / len(self.nats) if self.nats else None
        line: dict[str, Any] = {
            "step": progress.step,
            "bytes": progress.bytes,
            "units": progress.units,
            "loss": loss,
            "bpb": loss * units / count / np.log(2) if loss is not None and count else None,
            "lr": rate,
            "grad_norm": max(self.norms, default=None),
            "bytes_per_s": count / seconds if seconds else None,
            "seconds": progress.seconds,
            "nonfinite": progress.nonfinite,
        }
        if self.deleted:
            line["deletion_rate"] = sum(self.deleted) / len(self.deleted)
        return line


@contextmanager
def signals_caught() -> Iterator[list[int]]:
    """Collects SIGINT, SIGTERM and SIGHUP instead of dying by them; a second one is taken as impatience and kills."""
    received: list[int] = []

    def note(number: int, _: Any) -> None:
        received.append(number)
        signal.signal(number, signal.SIG_DFL)

    try:
        before = {number: signal.signal(number, note) for number in ENDING}
    except ValueError:  # not the main thread: signals go elsewhere
        yield received
        return
    try:
        yield received
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
