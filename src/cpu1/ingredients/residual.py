"""FPResidual: a full-precision low-rank path beside each ternary projection of a mixer.

After Hybrid Gated Flow (arXiv 2602.05269); the form is fixed by the card's sizes.
"""

from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from cpu1 import ops
from cpu1.program import Slice
from cpu1.recipes import ingredient

if TYPE_CHECKING:
    from cpu1.lowering import Builder


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
        inner = ops.linear(x, self.down, norm=True) * self.scale.repeat_interleave(self.rank)
        return inner, torch.cat(tuple(self.up))

    def lower(self, to: "Builder", x: Slice, y: Slice) -> None:
        """a is folded into U, and stays behind as ones."""
        normed, inner = to.register("normed", x.size), to.register("residual.inner", len(self.down))
        to.tensor(self.scale, torch.ones_like(self.scale))
        folded = to.tensor(self.down, self.down * self.scale.repeat_interleave(self.rank)[:, None])
        to.emit("rms_norm", x, normed)
        to.emit("dense_linear", normed, inner, weight=folded, activation="none", accumulate=False)
        first = 0
        for part, up in enumerate(self.up):
            source, out = inner.part(part * self.rank, self.rank), y.part(first, len(up))
            to.emit("dense_linear", source, out, weight=to.tensor(up), activation="none", accumulate=True)
            first += len(up)
