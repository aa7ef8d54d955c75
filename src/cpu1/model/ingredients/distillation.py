"""Learning from a teacher: its next-byte distribution (run_14), and its hidden states as well (run_15).

(1 - α) CE + α T² KL(teacher ‖ student)          Hinton et al., arXiv 1503.02531
... + β ‖P s - t‖² / mean ‖t‖²                    t: a fixed random projection of the teacher's vector

Of a cached teacher (`cpu1 teach`) only the k likeliest bytes of each distribution are known, and what is left for
all others together. Then the KL is that over these k + 1 outcomes, which is at most that over all bytes: how the
student shares the rest among the other bytes is not learned from the teacher.
"""

from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from cpu1 import ops
from cpu1.model.recipe import ingredient

TINY = 1e-30


@ingredient("distill")
class ByteDistillation:
    alpha: float = 0.3
    temperature: float = 1.0

    def build(self, width: int) -> None:
        """The student learns with what it has."""


@ingredient("distill")
class HiddenDistillation:
    alpha: float = 0.3
    temperature: float = 1.0
    beta: float = 0.1
    projection: int = 128

    def build(self, width: int) -> "HiddenProjection":
        return HiddenProjection(self.projection, width)


class HiddenProjection(nn.Module):
    """From the student's vectors to the teacher's projected ones; dropped after training."""

    def __init__(self, size: int, width: int) -> None:
        super().__init__()
        self.size = size
        self.projection = nn.Parameter(torch.empty(size, width))
        self.projection_bias = nn.Parameter(torch.empty(size))

    def forward(self, s: Tensor, target: Tensor, found: Tensor | None, mean: Callable[[Tensor], Tensor]) -> Tensor:
        """s (B, T, D), target (B, T, size), 0 where none is `found` (B, T) -> the relative squared error.

        `mean` is that over the processes which share the batch.
        """
        error = ops.linear(s, self.projection, self.projection_bias) - target
        if found is not None:
            error = error * found[..., None]
        return error.square().sum() / mean(target.square().sum()).clamp(min=TINY)


def fixed_projection(width: int, size: int) -> Tensor:
    """The teacher's random projection (width, size): the same for every run and machine."""
    generator = torch.Generator().manual_seed(15)
    return torch.randn(width, size, generator=generator) / width**0.5


def divergence(teacher: Tensor, logits: Tensor, temperature: float) -> Tensor:
    """KL(teacher ‖ student) at a temperature, in nats a unit, of logits (..., V) both."""
    log_student = F.log_softmax(logits / temperature, -1).flatten(0, -2)
    log_teacher = F.log_softmax(teacher / temperature, -1).flatten(0, -2)
    return F.kl_div(log_student, log_teacher, reduction="batchmean", log_target=True)


def likeliest_divergence(likeliest: Tensor, shares: Tensor, logits: Tensor, temperature: float) -> Tensor:
    """KL(teacher ‖ student) over k + 1 outcomes, in nats a unit.

    The k `likeliest` units int64 (M, k); their `shares` and that of all others (M, k + 1); logits (..., V), M in all.
    At a temperature other than 1 the teacher's rest is taken to be spread evenly over the others.
    """
    logits = logits.flatten(0, -2)
    if temperature != 1:
        others = logits.shape[-1] - likeliest.shape[-1]
        shares = shares ** (1 / temperature)
        shares[:, -1] *= others ** (1 - 1 / temperature)
        shares /= shares.sum(-1, keepdim=True)
    return _LikeliestDivergence.apply(logits, likeliest, shares, temperature)


class _LikeliestDivergence(torch.autograd.Function):
    """In a few passes over the logits. With q the student, r the teacher's rest and R the student's, the gradient in
    z / T is q_i - p_i of a likely unit and q_j (1 - r / R) of another."""

    @staticmethod
    def forward(ctx: Any, logits: Tensor, likeliest: Tensor, shares: Tensor, temperature: float) -> Tensor:
        student = torch.softmax(logits if temperature == 1 else logits / temperature, -1, dtype=torch.promote_types(
            logits.dtype, torch.float32))  # fmt: skip
        chosen = student.gather(-1, likeliest)
        others = student.scatter_(-1, likeliest, 0.0)
        rest = others.sum(-1, keepdim=True)
        told = torch.cat((chosen, rest), -1).clamp_(min=TINY)
        found = torch.special.xlogy(shares, shares) - shares * told.log()
        gradient = others.mul_(1 - shares[:, -1:] / told[:, -1:])
        gradient.scatter_(-1, likeliest, chosen - shares[:, :-1])
        ctx.save_for_backward(gradient)
        ctx.scale = 1 / (temperature * len(logits))
        ctx.kind = logits.dtype
        return found.sum() / len(logits)

    @staticmethod
    def backward(ctx: Any, upstream: Tensor) -> Any:
        (gradient,) = ctx.saved_tensors
        return (gradient * (upstream * ctx.scale)).to(ctx.kind), None, None, None
