"""PFNet: a leaky memory in each block, in full precision.

    u = W_in norm(x)      m_t = λ m_{t-1} + (1 - λ) u_t      y = W_out m_t

No source describes it under the card's name. The card's sizes fix the width of 32.

Shapes: B streams, T steps, D width of the trunk, W width of the memory.
"""

import math
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from cpu1 import ops
from cpu1.format.program import Slice
from cpu1.model.recipe import ingredient

if TYPE_CHECKING:
    from cpu1.model.builder import Builder

LONGEST_HALF_LIFE = 256.0  # steps of the trunk


@ingredient("memory")
class PFNet:
    """A leaky memory of `width` channels, with fixed or learned decay."""

    width: int = 32
    learned_decay: bool = False  # run_10: λ = sigmoid(θ) per channel, from the same start

    def build(self, width: int) -> nn.Module:
        """The memory of one block, for a trunk of `width`."""
        return PFNetModule(self, width)


class PFNetModule(nn.Module):
    """The memory of one block; λ = sigmoid(`theta`) (W,)."""

    theta: Tensor

    def __init__(self, config: PFNet, width: int) -> None:
        super().__init__()
        self.gain = nn.Parameter(torch.empty(width))
        self.input = nn.Parameter(torch.empty(config.width, width))
        self.output = nn.Parameter(torch.empty(width, config.width))  # zero at the start
        if config.learned_decay:
            self.theta = nn.Parameter(torch.empty(config.width))
        else:
            # fixed by the recipe, so it is in no weights file
            self.register_buffer("theta", starting_theta(config.width), persistent=False)

    def forward(self, x: Tensor, state: Tensor | None, keep: Tensor | None) -> tuple[Tensor, Tensor]:
        """x (B, T, D), state m (B, W) -> y (B, T, D), m after the last step (B, W), detached.

        `keep` k (B, T) softens the updates of m, see `ops.leaky_scan`.
        """
        u = ops.linear(ops.rms_norm(x, self.gain), self.input)
        memory = ops.leaky_scan(u, self.theta.sigmoid(), keep, state)
        return ops.linear(memory, self.output), memory[:, -1].detach()

    def lower(self, to: "Builder", x: Slice) -> Slice:
        """Appends the memory's operations on the residual stream `x`; returns the slice of y."""
        width = len(self.theta)
        normed, out = to.register("normed", x.size), to.register("branch", x.size)
        u, memory = to.register("memory.u", width), to.register("memory.m", width)
        decay = to.derived("decay", _sigmoid, self.theta)
        to.emit("rms_norm", x, normed, gain=to.tensor(self.gain))
        to.emit("dense_linear", normed, u, weight=to.tensor(self.input), activation="none", accumulate=False)
        to.emit("leaky_scan", u, memory, decay=decay, state=to.state(self, width))
        to.emit("dense_linear", memory, out, weight=to.tensor(self.output), activation="none", accumulate=False)
        return out


def _sigmoid(theta: NDArray[np.float32]) -> NDArray[np.float32]:
    return (1 / (1 + np.exp(-theta.astype(np.float64)))).astype(np.float32)


def starting_theta(width: int) -> Tensor:
    """θ (width,) whose λ = sigmoid(θ) give half-lives spaced logarithmically from 1 to 256 steps."""
    half_lives = torch.logspace(0, math.log2(LONGEST_HALF_LIFE), width, base=2.0, dtype=torch.float64, device="cpu")
    decay = torch.exp2(-1.0 / half_lives)
    return torch.logit(decay).float()
