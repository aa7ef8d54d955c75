"""One step of training: what is minimised, and the optimiser's move.

Shapes: B windows, N units in one, T steps of the trunk.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from cpu1 import ops
from cpu1.model.ingredients.linear import TernaryProjection
from cpu1.model.network import Model, Output
from cpu1.runs.settings import Settings
from cpu1.training.lessons import StepLesson, StepTeacher
from cpu1.training.optim import follow, values_of
from cpu1.training.parallel import Group, full, unwrapped


@dataclass(frozen=True)
class Windowed:
    """A process's windows of a step."""

    units: Tensor  # (B, N), on its device
    places: NDArray[np.int64]  # (B,): where in the stream they begin
    found: Sequence[Tensor] = ()  # what each of the model's lookups found for them, on its device


@dataclass(frozen=True)
class Step:
    """What one step gave, the same in all processes; a step that is not finite changed nothing."""

    nats: float  # loss, nats a unit
    norm: float  # of the gradient before clipping
    deleted: float | None  # share of patches that the gate would delete
    finite: bool


def step(
    replica: nn.Module,
    optimizer: torch.optim.Optimizer,
    batch: Windowed,
    number: int,
    settings: Settings,
    teacher: StepTeacher | None,
    group: Group,
) -> Step:
    """One optimiser step at the schedule's place `number`; `batch` are this process's windows of it."""
    model = unwrapped(replica)
    set_phase(model, settings, number)
    optimizer.zero_grad(set_to_none=True)  # before the activations need the memory
    with torch.autocast(batch.units.device.type, torch.bfloat16, enabled=settings.precision == "bf16"):
        output = replica(batch.units, found=batch.found)
        lesson = teacher(batch.units, batch.places) if teacher is not None else None
        objective, means = losses(model, output, batch.units, lesson, group, settings.z_loss)
    objective.backward()
    norm = clip(optimizer, settings.clip)
    nats, _, deleted = means.tolist()
    finite = math.isfinite(norm) and math.isfinite(nats)
    if finite:
        follow(optimizer, settings, number)
        optimizer.step()
    return Step(nats, norm, deleted if output.keep is not None else None, finite)


def clip(optimizer: torch.optim.Optimizer, limit: float) -> float:
    """The norm of all gradients together, which are scaled down to `limit` if it is larger."""
    parameters = [parameter for group in optimizer.param_groups for parameter in group["params"]]
    gradients = [values_of(p.grad) for p in parameters if p.grad is not None]
    total = torch.nn.utils.get_total_norm(gradients, foreach=True)
    norm = float(full(total))  # the same in all processes, which must decide alike
    if norm > limit:
        torch._foreach_mul_(gradients, limit / (total + 1e-6))
    return norm


def set_phase(model: Model, settings: Settings, number: int) -> None:
    """Sets what changes in the model during training; it is a function of the step alone."""
    if model.gate is not None:
        model.gate.progress, model.gate.step = number / settings.steps, number
    if settings.ternary_start:
        for module in model.modules():
            if isinstance(module, TernaryProjection):
                module.ternary = settings.is_ternary_at(number)


def losses(
    model: Model, output: Output, units: Tensor, lesson: StepLesson | None, group: Group, z_loss: float = 0.0
) -> tuple[Tensor, Tensor]:
    """What is minimised (cross-entropy, the terms of gate, teacher and z-loss), and means over the whole batch (3,).

    The means: cross-entropy in nats a unit, then what the gate takes away and deletes (DeleteGateModule.shares).
    """
    loss = ops.cross_entropy(output.logits.flatten(0, 1), units.flatten()) / units.numel()
    objective = loss if lesson is None else lesson.loss(loss, output, model.distill, group.mean)
    gone = loss.new_zeros(2) if output.keep is None else torch.stack(model.gate.shares(output.keep.detach()))
    means = group.mean(torch.cat((loss.detach()[None], gone)))
    if output.keep is not None:
        objective = objective + model.gate.penalty(output.keep, taken=means[1])
    if z_loss:
        objective = objective + z_loss * output.logits.logsumexp(-1).square().mean()
    return objective, means
