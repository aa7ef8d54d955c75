"""DeleteGate, after MrT5 (arXiv 2410.20771): a patch that adds nothing new skips the later blocks.

    k = sigmoid(MLP(norm(x)))          D -> 32 -> 1, after block ⌊L/4⌋

A soft gate scales the later branches and state updates by k. A hard gate lets a patch with k < 1/2 skip them: its
residual stream passes to the head, and their states stay as they are. The deployed gate is hard, so most of training
runs hard (`harden`).

A hard decision has no gradient. Straight-through gradients mislead: the worth of a branch falls with k, so they push
kept patches down and deleted ones up, until every score lies at the threshold and decisions are nearly random.
Therefore every sixteenth patch is a probe, another one in each training step. Its branches count half, whatever the
gate would have decided. There the slope in k is close to the worth of keeping a patch against deleting it. Only probes
teach the gate. A proportional-integral controller steers the rate of deletion to `target`.

Shapes: B streams, T steps (patches), D width.
"""

from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from cpu1 import ops
from cpu1.errors import UserError
from cpu1.format.program import Slice
from cpu1.model.recipe import ingredient

if TYPE_CHECKING:
    from cpu1.model.builder import Builder

PROPORTIONAL, INTEGRAL, LIMIT = 0.5, 0.02, 2.0  # nats per unit of k
PROBES, HALF = 16, 0.5  # one patch in PROBES is a probe; its branches count HALF


@ingredient("gate")
class DeleteGate:
    """A perceptron that decides which patches the later blocks see."""

    hidden: int = 32
    target: float = 0.3  # share of patches deleted
    harden: float = 0.25  # share of training after which decisions are hard

    def build(self, width: int) -> nn.Module:
        """The gate over a trunk of `width`. UserError for a target outside [0, 1)."""
        if not 0 <= self.target < 1:
            raise UserError(f"DeleteGate: target {self.target} is not in [0, 1)")
        return DeleteGateModule(self, width)

    def position(self, layers: int) -> int:
        """How many blocks run before the gate."""
        return max(1, layers // 4)


class DeleteGateModule(nn.Module):
    """The gate's tensors, and the controller of its rate. The trainer sets `progress` and `step` before each step."""

    pressure: Tensor

    def __init__(self, config: DeleteGate, width: int) -> None:
        super().__init__()
        self.config = config
        self.up = nn.Parameter(torch.empty(config.hidden, width))
        self.up_bias = nn.Parameter(torch.empty(config.hidden))
        self.down = nn.Parameter(torch.empty(1, config.hidden))
        self.down_bias = nn.Parameter(torch.empty(1))
        self.register_buffer("pressure", torch.zeros(()))  # the controller's integral, saved with the weights
        # The trainer sets the number of the step and the share of training done; tensors on a device may replace both.
        self._progress = 0.0
        self.step: int | Tensor = 0
        self.ramp: float | Tensor = self._ramp()  # the share of `target` aimed at so far

    @property
    def progress(self) -> float:
        """The share of training that is done, 0 to 1; setting it sets `ramp`."""
        return self._progress

    @progress.setter
    def progress(self, share: float) -> None:
        self._progress = share
        self.ramp = self._ramp()

    def _ramp(self) -> float:
        return min(1.0, self.progress / (0.5 * self.config.harden)) if self.config.harden else 1.0

    def is_soft(self, hard: bool) -> bool:
        """Whether decisions scale the branches at this point of training, where later they are 0 or 1."""
        return not hard and self.progress < self.config.harden

    def forward(self, x: Tensor, hard: bool) -> Tensor:
        """x (B, T, D) -> k (B, T), which scales the branches; exactly 0 or 1 when `hard`.

        In training, hard decisions are 0 or 1 without a gradient. Probes are exactly 1/2, with the gradient of k.
        """
        inner = nn.functional.silu(ops.linear(x, self.up, self.up_bias, norm=True))
        # In fp32 under autocast as well: this is a decision, not a feature.
        k = ((inner * self.down[0]).sum(-1) + self.down_bias).sigmoid()
        if not self.training:
            return (k >= HALF).to(k.dtype) if hard else k
        if self.is_soft(hard):
            return k
        probe = (torch.arange(k.shape[1], device=k.device) + self.step) % PROBES == 0
        return torch.where(probe, HALF + (k - k.detach()), (k >= HALF).to(k.dtype))

    @staticmethod
    def shares(keep: Tensor) -> tuple[Tensor, Tensor]:
        """Without the probes of k (B, T): the mean of 1 - k, and the share of patches that would be deleted."""
        decided = (keep != HALF).to(keep.dtype)
        count = decided.sum().clamp(min=1)
        return ((1 - keep) * decided).sum() / count, (keep < HALF).to(keep.dtype).sum() / count

    def lower(self, to: "Builder", x: Slice) -> None:
        """Appends the gate over `x`: k < 1/2 is a negative score. The builder sets the skip's target later."""
        to.tensor(self.pressure)
        names = ("up", "up_bias", "down", "down_bias")
        to.emit("delete_gate", x, None, **{name: to.tensor(getattr(self, name)) for name in names}, skip_to=to.LATER)

    def penalty(self, keep: Tensor, taken: Tensor) -> Tensor:
        """The regulariser to add to the loss, in nats; advances the controller by one step.

        `keep` k (B, T) is of this process's windows. `taken` is the first of `shares` over the whole batch, of which
        other processes may have a part: all have one controller.
        """
        with torch.no_grad():
            error = self.config.target * self.ramp - taken
            # NaN would stay in the controller for good, though the trainer skips the step that brought it
            self.pressure.add_(INTEGRAL * error.nan_to_num()).clamp_(-LIMIT, LIMIT)
            weight = PROPORTIONAL * error + self.pressure
        return weight * keep.mean()
