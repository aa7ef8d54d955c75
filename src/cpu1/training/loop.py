"""The training loop: flat, to be read from top to bottom.

A run is a pure function of its recipe and settings: interrupted at any step and started again, it ends
with the same weights, bit for bit, on the same machine with the same number of threads.
"""

import math
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from cpu1 import ops
from cpu1.data.order import Windows
from cpu1.ingredients.linear import TernaryProjection
from cpu1.model import Model, Output, build
from cpu1.recipes import Recipe
from cpu1.runs import Metrics
from cpu1.training import guards
from cpu1.training.checkpoint import Checkpoints, Progress
from cpu1.training.optim import follow
from cpu1.training.optim import optimizer as make_optimizer
from cpu1.training.settings import Settings

LOG_LINES = 200  # about so many lines of metrics a run
# Points of the held-out learning curve, as shares of the steps.
VALIDATIONS = (1 / 64, 1 / 32, 1 / 16, 1 / 8, 1 / 4, 3 / 8, 1 / 2, 5 / 8, 3 / 4, 7 / 8, 1)
CHECKPOINT_SECONDS = 60.0
MEAN = 0.98  # decay of the running mean of the loss


class Interrupted(Exception):
    """SIGINT or SIGTERM arrived; the run is saved and can be resumed."""


@dataclass(frozen=True)
class Text:
    """What a run reads: the training stream of units and what the guards and figures need to know of it."""

    stream: NDArray[Any]  # of units, documents separated by unit 0
    unit_bytes: NDArray[np.int64]  # bytes of each unit; the separator has none
    frequency_loss: float  # nats a unit of predicting by frequency alone


@dataclass(frozen=True)
class Hooks:
    """What the loop tells the outside, and asks of it."""

    validate: Callable[[Model], float]  # held-out bits per byte
    report: Callable[[dict[str, Any]], None] = lambda line: None  # each line of metrics
    teacher: Model | None = None
    checkpoint_seconds: float = CHECKPOINT_SECONDS


def run(folder: Path, recipe: Recipe, settings: Settings, text: Text, hooks: Hooks) -> tuple[Model, Progress]:
    """Trains from the newest checkpoint in `folder`, or from the start, to the last step.

    Raises Interrupted (saved) or guards.RunStopped (saved).
    """
    # ------------------------------------------------------------------ model, optimiser, position
    ops.retain_memory()
    model = build(recipe, settings.seed).train()
    optimizer = make_optimizer(model, settings)
    checkpoints = Checkpoints(folder / "checkpoints", f"{recipe.hash()} {settings.to_json()}")
    progress = checkpoints.resume(model, optimizer)
    windows = Windows(text.stream, settings.window, settings.seed)
    metrics = Metrics(folder / "metrics.jsonl", progress.step)
    watch = guards.TernaryWatch(model)
    watch.look()
    log_every = max(1, settings.steps // LOG_LINES)
    validated = {round(share * settings.steps) for share in VALIDATIONS}
    interval = Interval(progress)
    saved = time.monotonic()

    with signals_caught() as signals:
        while progress.step < settings.steps:
            # ---------------------------------------------------------- one step
            begun = time.monotonic()
            units = torch.from_numpy(windows.batch(progress.step, settings.batch).astype(np.int64))
            done = step(model, optimizer, units, progress.step, settings, hooks.teacher)
            if done.finite:
                progress.loss_mean = mean_loss(progress, done.nats)
                interval.add(done)
            else:
                progress.nonfinite += 1
            progress.step += 1
            progress.units += units.numel()
            progress.bytes += int(text.unit_bytes[units.numpy()].sum())
            progress.seconds += time.monotonic() - begun

            # ---------------------------------------------------------- metrics
            last = progress.step == settings.steps
            held_out = [hooks.validate(model)] if progress.step in validated else []
            if progress.step % log_every == 0 or held_out:
                line = interval.line(progress, settings.rate_at(progress.step - 1)) | watch.look()
                if held_out:
                    line["valid_bpb"] = held_out[0] if math.isfinite(held_out[0]) else None
                metrics.write(**line)
                hooks.report(line)
                interval = Interval(progress)

            # ---------------------------------------------------------- guards
            try:
                guards.check_finite(progress.nonfinite, progress.step, last)
                if progress.step == guards.GRACE and not progress.nonfinite:
                    guards.check_all_tensors_learn(model, settings.seed)
                guards.check_learning(progress.loss_mean, text.frequency_loss, progress.step, settings.warmup_steps)
                if last:
                    guards.check_held_out(progress.step, *held_out)
            except guards.RunStopped:
                checkpoints.save(model, optimizer, progress)
                raise

            # ---------------------------------------------------------- checkpoint
            if signals or last or time.monotonic() - saved > hooks.checkpoint_seconds:
                checkpoints.save(model, optimizer, progress)
                saved = time.monotonic()
            if signals and not last:
                raise Interrupted
    return model.eval(), progress


@dataclass(frozen=True)
class Step:
    """What one step gave; a step that is not finite changed nothing."""

    nats: float  # loss, nats a unit
    norm: float  # of the gradient before clipping
    deleted: float | None  # share of patches that the gate would delete
    finite: bool


def step(
    model: Model,
    optimizer: torch.optim.Optimizer,
    units: Tensor,
    number: int,
    settings: Settings,
    teacher: Model | None,
) -> Step:
    """One optimiser step on windows `units` (B, N) at the schedule's place `number`."""
    set_phase(model, settings, number)
    optimizer.zero_grad(set_to_none=True)  # before the activations need the memory
    with torch.autocast("cpu", torch.bfloat16, enabled=settings.precision == "bf16"):
        output = model(units)
        loss, objective = losses(model, output, units, teacher, settings.z_loss)
    objective.backward()
    norm = clip(model, settings.clip)
    nats = float(loss.detach())
    finite = math.isfinite(norm) and math.isfinite(nats)
    if finite:
        follow(optimizer, settings, number)
        optimizer.step()
    deleted = None if output.keep is None else float((output.keep.detach() < 0.5).float().mean())
    return Step(nats, norm, deleted, finite)


def clip(model: Model, limit: float) -> float:
    """The norm of all gradients together, which are scaled down to `limit` if it is larger."""
    gradients = [parameter.grad for parameter in model.parameters() if parameter.grad is not None]
    norm = torch.nn.utils.get_total_norm(gradients, foreach=True)
    if norm > limit:
        torch.nn.utils.clip_grads_with_norm_(model.parameters(), limit, norm)
    return float(norm)


def set_phase(model: Model, settings: Settings, number: int) -> None:
    """Tells the model where in its training it stands: what changes on the way is a function of the step alone."""
    if model.gate is not None:
        model.gate.progress = number / settings.steps
    for module in model.modules():
        if isinstance(module, TernaryProjection):
            module.ternary = settings.is_ternary_at(number)


def losses(
    model: Model, output: Output, units: Tensor, teacher: Model | None, z_loss: float = 0.0
) -> tuple[Tensor, Tensor]:
    """The cross-entropy in nats a unit, and what is minimised: with the terms of gate, teacher and z-loss."""
    loss = ops.cross_entropy(output.logits.flatten(0, 1), units.flatten()) / units.numel()
    objective = loss
    if model.distill is not None and teacher is not None:
        with torch.no_grad():
            taught = teacher(units)
        objective = model.distill(loss, output.logits, output.s, taught.logits, taught.s)
    if model.gate is not None and output.keep is not None:
        objective = objective + model.gate.penalty(output.keep)
    if z_loss:
        objective = objective + z_loss * output.logits.logsumexp(-1).square().mean()
    return loss, objective


def mean_loss(progress: Progress, nats: float) -> float:
    return nats if not progress.loss_mean else MEAN * progress.loss_mean + (1 - MEAN) * nats


def seconds_a_step(recipe: Recipe, settings: Settings, text: Text, teacher: Model | None, count: int = 12) -> float:
    """The median time of a training step, measured on a model that is thrown away."""
    model = build(recipe, settings.seed).train()
    optimizer, windows = make_optimizer(model, settings), Windows(text.stream, settings.window, settings.seed)
    times = []
    for number in range(count):
        begun = time.monotonic()
        units = torch.from_numpy(windows.batch(number, settings.batch).astype(np.int64))
        step(model, optimizer, units, number, replace(settings, steps=count), teacher)
        times.append(time.monotonic() - begun)
    return sorted(times)[count // 2]


class Interval:
    """Means between two lines of metrics, and the largest gradient; steps that were not finite do not count."""

    def __init__(self, start: Progress) -> None:
        self.start = (start.bytes, start.units, start.seconds)
        self.nats: list[float] = []
        self.norms: list[float] = []
        self.deleted: list[float] = []

    def add(self, done: Step) -> None:
        self.nats.append(done.nats)
        self.norms.append(done.norm)
        if done.deleted is not None:
            self.deleted.append(done.deleted)

    def line(self, progress: Progress, rate: float) -> dict[str, Any]:
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
    """Collects SIGINT and SIGTERM instead of dying by them; a second one is taken as impatience and kills."""
    received: list[int] = []

    def note(number: int, _: Any) -> None:
        received.append(number)
        signal.signal(number, signal.SIG_DFL)

    try:
        before = {number: signal.signal(number, note) for number in (signal.SIGINT, signal.SIGTERM)}
    except ValueError:  # not the main thread: signals go elsewhere
        yield received
        return
    try:
        yield received
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
