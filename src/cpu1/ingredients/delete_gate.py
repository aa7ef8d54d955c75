"""DeleteGate, after MrT5 (arXiv 2410.20771): a patch that tells nothing new skips the later blocks.

    k = sigmoid(MLP(norm(x)))          d -> 32 -> 1, behind block ⌊L/4⌋

Soft, k scales the later branches and state updates. Hard, a patch with k < 1/2 skips them: its own
residual stream goes on to the head and their states stay as they are. Hard is what is deployed, so
the second half of training runs hard with straight-through gradients (`harden`).
A proportional-integral controller steers the rate of deletion to `target`.
"""

from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from cpu1 import ops
from cpu1.errors import UserError
from cpu1.program import Slice
from cpu1.recipes import ingredient

if TYPE_CHECKING:
    from cpu1.lowering import Builder

PROPORTIONAL, INTEGRAL, LIMIT = 0.5, 0.02, 2.0  # nats per unit of k


@ingredient("gate")
class DeleteGate:
    hidden: int = 32
    target: float = 0.3  # share of patches deleted
    harden: float = 0.5  # share of training after which decisions are hard

    def build(self, width: int) -> nn.Module:
        if not 0 <= self.target < 1:
            raise UserError(f"DeleteGate: target {self.target} is not in [0, 1)")
        return DeleteGateModule(self, width)

    def position(self, layers: int) -> int:
        """How many blocks run before the gate."""
        return max(1, layers // 4)


class DeleteGateModule(nn.Module):
    pressure: Tensor

    def __init__(self, config: DeleteGate, width: int) -> None:
        super().__init__()
        self.config = config
        self.up = nn.Parameter(torch.empty(config.hidden, width))
        self.up_bias = nn.Parameter(torch.empty(config.hidden))
        self.down = nn.Parameter(torch.empty(1, config.hidden))
        self.down_bias = nn.Parameter(torch.empty(1))
        self.register_buffer("pressure", torch.zeros(()))  # the controller's integral, saved with the weights
        self.progress = 0.0  # share of training done, set by the trainer

    def forward(self, x: Tensor, hard: bool) -> Tensor:
        """x (B, T, D) -> k (B, T); exactly 0 or 1 when `hard`, in training with straight-through gradients."""
        inner = nn.functional.silu(ops.linear(x, self.up, self.up_bias, norm=True))
        # In fp32 under autocast as well: this is a decision, not a feature.
        k = ((inner * self.down[0]).sum(-1) + self.down_bias).sigmoid()
        if hard or (self.training and self.progress >= self.config.harden):
            return k + ((k >= 0.5).to(k.dtype) - k).detach() if self.training else (k >= 0.5).to(k.dtype)
        return k

    def lower(self, to: "Builder", x: Slice) -> None:
        """k < 1/2 is a negative score; the builder lets the skip land behind the blocks."""
        to.tensor(self.pressure)
        names = ("up", "up_bias", "down", "down_bias")
        to.emit("delete_gate", x, None, **{name: to.tensor(getattr(self, name)) for name in names}, skip_to=to.LATER)

    def penalty(self, keep: Tensor, taken: Tensor) -> Tensor:
        """The regulariser to add to the loss (nats); moves the controller on by one step.

        `keep` k (B, T) is of the windows at hand, `taken` the mean of 1 - k over the whole batch, which other
        processes may share: the controller is one for all.
        """
        ramp = min(1.0, self.progress / (0.5 * self.config.harden)) if self.config.harden else 1.0
        with torch.no_grad():
            error = self.config.target * ramp - taken
            # NaN would stay in the controller for good, though the trainer skips the step that brought it
            self.pressure.add_(INTEGRAL * error.nan_to_num()).clamp_(-LIMIT, LIMIT)
            weight = PROPORTIONAL * error + self.pressure
        return weight * keep.mean()
