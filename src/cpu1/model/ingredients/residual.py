"""FPResidual: a full-precision low-rank path beside each ternary projection of a mixer.

After Hybrid Gated Flow (arXiv 2602.05269); the form is fixed by the card's sizes.
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
        return FPResidualModule(width, parts, self.rank)


class FPResidualModule(nn.Module):
    def __init__(self, width: int, parts: tuple[int, ...], rank: int) -> None:
        super().__init__()
        self.rank = rank
        self.down = nn.Parameter(torch.empty(len(parts) * rank, width))  # U, stacked
        self.up = nn.ParameterList(torch.empty(part, rank) for part in parts)  # V, one a part
        self.scale = nn.Parameter(torch.empty(len(parts)))  # a

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """x (..., D) raw residual stream -> a norm(x) U (..., parts * rank), V (sum(parts), rank)."""
        return ops.linear(x, self._scaled_down(), norm=True), torch.cat(tuple(self.up))

    def _scaled_down(self) -> Tensor:
        """a U (parts * rank, D)."""
        return (self.down.unflatten(0, (-1, self.rank)) * self.scale[:, None, None]).flatten(0, 1)

    def lower(self, to: "Builder", x: Slice, y: Slice) -> None:
        """a is folded into U, and stays behind as ones."""
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
