"""Learning from a teacher: its next-byte distribution (run_14), and its hidden states as well (run_15).

(1 - α) CE + α T² KL(teacher ‖ student)          Hinton et al., arXiv 1503.02531
... + β ‖P s - t‖² / mean ‖t‖²                    t: a fixed random projection of the teacher's vector

A cached teacher (`cpu1 teach`) keeps only the k likeliest bytes of each distribution, and the probability of all
others together. Then the KL is over these k + 1 outcomes, which is at most that over all bytes: the teacher does not
teach how the student divides the rest among the other bytes.

Shapes: B streams, T steps, D width, V symbols, M units (all windows as one), k likeliest symbols.
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
    """Learns the teacher's next-byte distribution."""

    alpha: float = 0.3  # weight of the teacher's distribution against the text
    temperature: float = 1.0

    def build(self, width: int) -> None:
        """Nothing: the student needs no module besides its own."""


@ingredient("distill")
class HiddenDistillation:
    """Learns the teacher's next-byte distribution and its hidden states."""

    alpha: float = 0.3  # weight of the teacher's distribution against the text
    temperature: float = 1.0
    beta: float = 0.1  # weight of the hidden states
    projection: int = 128  # values of the teacher's projected vectors

    def build(self, width: int) -> "HiddenProjection":
        """The student's projection from vectors of `width`."""
        return HiddenProjection(self.projection, width)


class HiddenProjection(nn.Module):
    """A projection of the student's vectors to the teacher's projected ones; dropped after training."""

    def __init__(self, size: int, width: int) -> None:
        super().__init__()
        self.size = size
        self.projection = nn.Parameter(torch.empty(size, width))
        self.projection_bias = nn.Parameter(torch.empty(size))

    def forward(self, s: Tensor, target: Tensor, mask: Tensor | None, mean: Callable[[Tensor], Tensor]) -> Tensor:
        """s (B, T, D), target (B, T, size) -> the relative squared error, a scalar.

        `mask` (B, T) says which steps have a target (None: all); the target of others is 0. `mean` takes the mean over
        the processes that share the batch.
        """
        error = ops.linear(s, self.projection, self.projection_bias) - target
        if mask is not None:
            error = error * mask[..., None]
        return error.square().sum() / mean(target.square().sum()).clamp(min=TINY)


def fixed_projection(width: int, size: int) -> Tensor:
    """The random projection (width, size) of the teacher's vectors: the same for every run and machine."""
    generator = torch.Generator().manual_seed(15)
    return torch.randn(width, size, generator=generator) / width**0.5


def divergence(teacher: Tensor, logits: Tensor, temperature: float) -> Tensor:
    """KL(teacher ‖ student) at a temperature, in nats a unit, from the logits (..., V) of both."""
    log_student = F.log_softmax(logits / temperature, -1).flatten(0, -2)
    log_teacher = F.log_softmax(teacher / temperature, -1).flatten(0, -2)
    return F.kl_div(log_student, log_teacher, reduction="batchmean", log_target=True)


def likeliest_divergence(likeliest: Tensor, shares: Tensor, logits: Tensor, temperature: float) -> Tensor:
    """KL(teacher ‖ student) over k + 1 outcomes, in nats a unit.

    `likeliest` int64 (M, k) are the teacher's likeliest units, `shares` (M, k + 1) their probabilities and that of all
    others; `logits` (..., V) are the student's for M units in all. At a temperature other than 1 the teacher's rest is
    taken to be spread evenly over the other units.
    """
    logits = logits.flatten(0, -2)
    if temperature != 1:
        others = logits.shape[-1] - likeliest.shape[-1]
        shares = shares ** (1 / temperature)
        shares[:, -1] *= others ** (1 - 1 / temperature)
        shares /= shares.sum(-1, keepdim=True)
    return _LikeliestDivergence.apply(logits, likeliest, shares, temperature)


class _LikeliestDivergence(torch.autograd.Function):
    """The divergence and its gradient in a few passes over the logits.

    Let p be the teacher, q the student, r the teacher's rest and R the student's. The gradient by z / T is q_i - p_i
    for a likely unit i and q_j (1 - r / R) for another unit j.
    """

    @staticmethod
    def forward(ctx: Any, logits: Tensor, likeliest: Tensor, shares: Tensor, temperature: float) -> Tensor:
        precise = torch.promote_types(logits.dtype, torch.float32)
        student = torch.softmax(logits if temperature == 1 else logits / temperature, -1, dtype=precise)
        chosen = student.gather(-1, likeliest)
        others = student.scatter_(-1, likeliest, 0.0)
        rest = others.sum(-1, keepdim=True)
        outcomes = torch.cat((chosen, rest), -1).clamp_(min=TINY)
        nats = torch.special.xlogy(shares, shares) - shares * outcomes.log()
        gradient = others.mul_(1 - shares[:, -1:] / outcomes[:, -1:])
        gradient.scatter_(-1, likeliest, chosen - shares[:, :-1])
        ctx.save_for_backward(gradient)
        ctx.scale = 1 / (temperature * len(logits))
        ctx.dtype = logits.dtype
        return nats.sum() / len(logits)

    @staticmethod
    def backward(ctx: Any, upstream: Tensor) -> Any:
        (gradient,) = ctx.saved_tensors
        return (gradient * (upstream * ctx.scale)).to(ctx.dtype), None, None, None
