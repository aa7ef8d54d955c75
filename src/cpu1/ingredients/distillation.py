"""Learning from a teacher: its next-byte distribution (run_14), and its hidden states as well (run_15).

(1 - α) CE + α T² KL(teacher ‖ student)          Hinton et al., arXiv 1503.02531
... + β ‖P s - t‖² / mean ‖t‖²                    t: a fixed random projection of the teacher's vector
"""

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from cpu1 import ops
from cpu1.recipes import ingredient


@ingredient("distill")
class ByteDistillation:
    alpha: float = 0.3
    temperature: float = 1.0

    def build(self, width: int) -> nn.Module:
        return DistillationModule(self.alpha, self.temperature, None, width)


@ingredient("distill")
class HiddenDistillation:
    alpha: float = 0.3
    temperature: float = 1.0
    beta: float = 0.1
    projection: int = 128

    def build(self, width: int) -> nn.Module:
        return DistillationModule(self.alpha, self.temperature, (self.beta, self.projection), width)


class DistillationModule(nn.Module):
    """The student's side of the loss; its projection is dropped after training."""

    def __init__(self, alpha: float, temperature: float, hidden: tuple[float, int] | None, width: int) -> None:
        super().__init__()
        self.alpha, self.temperature = alpha, temperature
        self.beta, self.size = hidden or (0.0, 0)
        if hidden:
            self.projection = nn.Parameter(torch.empty(self.size, width))
            self.projection_bias = nn.Parameter(torch.empty(self.size))

    def forward(
        self,
        own: Tensor,
        logits: Tensor,
        s: Tensor,
        teacher_logits: Tensor,
        teacher_s: Tensor,
        mean: Callable[[Tensor], Tensor],
    ) -> Tensor:
        """own: the student's cross-entropy (nats a unit); logits (..., V), s (B, T, D) -> the loss to minimise.

        `mean` is that over the processes which share the batch.
        """
        temperature = self.temperature
        student = F.log_softmax(logits / temperature, -1).flatten(0, -2)
        teacher = F.log_softmax(teacher_logits / temperature, -1).flatten(0, -2)
        divergence = F.kl_div(student, teacher, reduction="batchmean", log_target=True)
        loss = (1 - self.alpha) * own + self.alpha * temperature**2 * divergence
        if self.size:
            target = teacher_s @ fixed_projection(teacher_s.shape[-1], self.size).to(teacher_s)
            error = ops.linear(s, self.projection, self.projection_bias) - target
            loss = loss + self.beta * error.square().mean() / mean(target.square().mean())
        return loss


def fixed_projection(width: int, size: int) -> Tensor:
    """The teacher's random projection (width, size): the same for every run and machine."""
    generator = torch.Generator().manual_seed(15)
    return torch.randn(width, size, generator=generator) / width**0.5
