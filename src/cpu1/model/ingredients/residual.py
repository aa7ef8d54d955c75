"""FPResidual: a full-precision low-rank path added to each ternary projection of a mixer.

After Hybrid Gated Flow (arXiv 2602.05269). The card's sizes fix the form.

Shapes: D width of the trunk, P parts stacked in a projection, R rank.
"""

from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from cpu1 import ops
from cpu1.format.program import Slice
from cpu1.model.recipe import ingredient

if TYPE_CHECKING:
    from cpu1.model.builder import Builder


@ingredient("residual")
class FPResidual:
    """y + a * (norm(x) U) V for each part: rank 4, V zero and a = 0.1 at the start."""

    rank: int = 4

    def build(self, width: int, parts: tuple[int, ...]) -> nn.Module:
        """The path of one projection from `width` to stacked outputs of the sizes `parts`."""
        return FPResidualModule(width, parts, self.rank)


class FPResidualModule(nn.Module):
    """The path of one projection: U and a stacked by part, V one by one."""

    def __init__(self, width: int, parts: tuple[int, ...], rank: int) -> None:
        super().__init__()
        self.rank = rank
        self.down = nn.Parameter(torch.empty(len(parts) * rank, width))  # U, stacked
        self.up = nn.ParameterList(torch.empty(part, rank) for part in parts)  # V, one a part
        self.scale = nn.Parameter(torch.empty(len(parts)))  # a

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """x (..., D), the residual stream -> a norm(x) U (..., P * R) and V (sum of parts, R)."""
        return ops.linear(x, self._scaled_down(), norm=True), torch.cat(tuple(self.up))

    def _scaled_down(self) -> Tensor:
        """a U (P * R, D)."""
        return (self.down.unflatten(0, (-1, self.rank)) * self.scale[:, None, None]).flatten(0, 1)

    def lower(self, to: "Builder", x: Slice, y: Slice) -> None:
        """Appends the path from `x`, added to `y`. a is multiplied into U; its own tensor is stored as ones."""
        normed, inner = to.register("normed", x.size), to.register("residual.inner", len(self.down))
        to.tensor(self.scale, torch.ones_like(self.scale))
        folded = to.tensor(self.down, self._scaled_down())
        to.emit("rms_norm", x, normed)
        to.emit("dense_linear", normed, inner, weight=folded, activation="none", accumulate=False)
        first = 0
        for part, up in enumerate(self.up):
            source, out = inner.part(part * self.rank, self.rank), y.part(first, len(up))
            to.emit("dense_linear", source, out, weight=to.tensor(up), activation="none", accumulate=True)
            first += len(up)
