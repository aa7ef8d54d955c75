"""The matrices of mixers and FFNs: full precision, or ternary with 8-bit activations (BitLinear).

An *input* projection reads the residual stream and normalises it; an *output* projection reads what a mixer or FFN
computed. BitLinear normalises whatever it reads. RMSNorm without gain is idempotent (up to its eps), so one norm is
both the block's pre-norm and BitLinear's own.

Shapes: B streams, T steps, D width.
"""

from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from cpu1 import ops
from cpu1.format.program import Slice
from cpu1.model.recipe import ingredient
from cpu1.records import later

if TYPE_CHECKING:
    from cpu1.model.builder import Builder


@ingredient("linear")
class Dense:
    """Full-precision matrices without bias."""

    def input(self, width: int, parts: tuple[int, ...]) -> nn.Module:
        """An input projection from `width` to stacked outputs of the sizes `parts`."""
        return DenseProjection(width, parts, norm=True)

    def output(self, inner: int, width: int) -> nn.Module:
        """An output projection from `inner` to `width`."""
        return DenseProjection(inner, (width,), norm=False)


class DenseProjection(nn.Module):
    """Stacked matrices over one input. `norm` normalises the input first; `gain` learns a factor for each channel."""

    def __init__(self, inputs: int, parts: tuple[int, ...], norm: bool, gain: bool = False) -> None:
        super().__init__()
        self.parts, self.norm = parts, norm
        self.weight = nn.Parameter(torch.empty(sum(parts), inputs))
        self.gain = nn.Parameter(torch.empty(inputs)) if gain else None

    def forward(self, x: Tensor, inner: Tensor | None = None, up: Tensor | None = None) -> Tensor:
        """(..., inputs) -> (..., outputs), fp32; plus a low-rank path, as in `ops.ternary_linear`."""
        if self.gain is not None:
            x = ops.rms_norm(x, self.gain)
        y = ops.linear(x, self.weight, norm=self.norm and self.gain is None)
        if inner is None or up is None:
            return y
        return y + ops.linear(inner, torch.block_diag(*up.split(self.parts)))

    def of_swiglu(self, x: Tensor, inner: "DenseProjection") -> Tensor:
        """This projection of the gated units that `inner` (gate, up) computes from x (B, T, D): (B, T, outputs)."""
        return self(ops.swiglu(inner(x)))

    def of_mlgru(self, fcg: Tensor, keep: Tensor | None, h0: Tensor | None) -> tuple[Tensor, Tensor]:
        """This projection of an MLGRU over fcg (B, T, 3D), and its last state (B, D); see `ops.mlgru_mix`."""
        mixed, state = ops.mlgru_mix(fcg, keep, h0)
        return self(mixed), state

    def lower(self, to: "Builder", x: Slice, out: Slice) -> None:
        """Appends the projection of `x`, which writes `out`."""
        if self.norm:
            normed = to.register("normed", x.size)
            to.emit("rms_norm", x, normed)
            x = normed
        to.emit("dense_linear", x, out, weight=to.tensor(self.weight), activation="none", accumulate=False)


@ingredient("linear")
class Ternary:
    """BitLinear of BitNet b1.58 (arXiv 2402.17764) with SubLN gains before W_o and W_down."""

    sub_norm: bool = later(default=True)  # whether there are gains; the norms belong to the quantiser and remain

    def input(self, width: int, parts: tuple[int, ...]) -> nn.Module:
        """An input projection from `width` to stacked outputs of the sizes `parts`."""
        return TernaryProjection(width, parts, norm=True)

    def output(self, inner: int, width: int) -> nn.Module:
        """An output projection from `inner` to `width`, with gains if `sub_norm`."""
        return TernaryProjection(inner, (width,), norm=True, gain=self.sub_norm)


class TernaryProjection(DenseProjection):
    """Stacked ternary matrices over one quantised input; each part has a scale of its own."""

    ternary = True  # False: the same parameters in full precision, set by the trainer (arXiv 2502.11895)

    def forward(self, x: Tensor, inner: Tensor | None = None, up: Tensor | None = None) -> Tensor:
        """(..., inputs) -> (..., outputs), fp32; plus a low-rank path, as in `ops.ternary_linear`."""
        if not self.ternary:
            return super().forward(x, inner, up)
        return ops.ternary_linear(ops.quantise(x, self.gain), self.weight, self.parts, inner, up)

    def of_swiglu(self, x: Tensor, inner: DenseProjection) -> Tensor:
        if not self.ternary:
            return super().of_swiglu(x, inner)
        hidden = ops.ternary_swiglu(ops.quantise(x, inner.gain), inner.weight, inner.parts, self.gain)
        return ops.ternary_linear(hidden, self.weight, self.parts)

    def of_mlgru(self, fcg: Tensor, keep: Tensor | None, h0: Tensor | None) -> tuple[Tensor, Tensor]:
        if not self.ternary:
            return super().of_mlgru(fcg, keep, h0)
        mixed, state = ops.mlgru_quantise(fcg, self.gain, keep, h0)
        return ops.ternary_linear(mixed, self.weight, self.parts), state

    def lower(self, to: "Builder", x: Slice, out: Slice) -> None:
        gain = to.tensor(self.gain) if self.gain is not None else None
        to.emit("ternary_linear", x, out, parts=self.parts, weight=to.ternary(self.weight, self.parts), gain=gain)
