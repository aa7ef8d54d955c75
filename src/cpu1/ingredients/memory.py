"""PFNet: a leaky memory beside each block, in full precision.

    u = W_in norm(x)      m_t = λ m_{t-1} + (1 - λ) u_t      y = W_out m_t

Found in no source under the card's name; the width of 32 is fixed by the card's sizes.
"""

import torch
from torch import Tensor, nn

from cpu1 import ops
from cpu1.recipes import ingredient

LONGEST_HALF_LIFE = 256.0  # steps of the trunk


@ingredient
class PFNet:
    width: int = 32
    learned_decay: bool = False  # run_10: λ = sigmoid(θ) per channel, from the same start

    def build(self, width: int) -> nn.Module:
        return PFNetModule(self, width)


class PFNetModule(nn.Module):
    theta: Tensor

    def __init__(self, config: PFNet, width: int) -> None:
        super().__init__()
        self.gain = nn.Parameter(torch.empty(width))
        self.input = nn.Parameter(torch.empty(config.width, width))
        self.output = nn.Parameter(torch.empty(width, config.width))  # zero at the start
        if config.learned_decay:
            self.theta = nn.Parameter(torch.empty(config.width))
        else:
            self.register_buffer("theta", torch.empty(config.width), persistent=False)

    def forward(self, x: Tensor, state: Tensor | None, keep: Tensor | None) -> tuple[Tensor, Tensor]:
        """x (B, T, D), state m (B, width) -> y (B, T, D), m after the last step (detached)."""
        u = ops.linear(ops.rms_norm(x, self.gain), self.input)
        memory = ops.leaky_scan(u, self.theta.sigmoid(), keep, state)
        return ops.linear(memory, self.output), memory[:, -1].detach()


def starting_theta(width: int) -> Tensor:
    """θ whose λ = sigmoid(θ) give half-lives spaced logarithmically from 1 to 256 steps. (width,)"""
    half_lives = torch.logspace(
        0,
        torch.log2(torch.tensor(LONGEST_HALF_LIFE)).item(),
        width,
        base=2.0,
        dtype=torch.float64,
        device="cpu",
    )
    decay = torch.exp2(-1.0 / half_lives)
    return torch.logit(decay).float()
