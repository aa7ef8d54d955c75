"""MLGRU, the recurrent mixer of MatMul-free LM (arXiv 2406.02528).

    f = sigmoid(W_f x)   c = silu(W_c x)   g = W_g x
    h_t = f_t * h_{t-1} + (1 - f_t) * c_t
    y = W_o(norm(h) * silu(g))

The norm bounds the state. The form without W_o is the card's "kernel-strict" one.

Shapes: B streams, T steps, D width.
"""

from typing import TYPE_CHECKING, Any

from torch import Tensor, nn

from cpu1 import ops
from cpu1.format.program import Slice
from cpu1.model.recipe import Recipe, ingredient

if TYPE_CHECKING:
    from cpu1.model.builder import Builder


@ingredient("mixer")
class MLGRU:
    """The recurrent mixer, with or without W_o."""

    output: bool = True  # W_o; False is "kernel-strict"

    def build(self, recipe: Recipe) -> nn.Module:
        """The mixer of one block."""
        return MLGRUMixer(self, recipe)


class MLGRUMixer(nn.Module):
    """The mixer of one block: stacked projections to f, c and g, and W_o."""

    input: Any
    residual: Any
    output: Any

    def __init__(self, config: MLGRU, recipe: Recipe) -> None:
        super().__init__()
        width = recipe.width
        parts = (width, width, width)  # f, c, g from one product
        self.input = recipe.linear.input(width, parts)
        self.residual = recipe.residual.build(width, parts) if recipe.residual else None
        self.output = recipe.linear.output(width, width) if config.output else None

    def forward(self, x: Tensor, state: Tensor | None, keep: Tensor | None) -> tuple[Tensor, Tensor]:
        """x (B, T, D), state h (B, D) -> y (B, T, D), h after the last step (B, D), detached.

        `keep` k (B, T) softens the updates of h, see `ops.gate_scan`.
        """
        fcg = self.input(x) if self.residual is None else self.input(x, *self.residual(x))
        return ops.mlgru_mix(fcg, keep, state) if self.output is None else self.output.of_mlgru(fcg, keep, state)

    def lower(self, to: "Builder", x: Slice) -> Slice:
        """Appends the mixer's operations on the residual stream `x`; returns the slice of y."""
        width = x.size
        fcg, out = to.register("mixer.input", 3 * width), to.register("branch", width)
        h, normed, mixed = (to.register(name, width) for name in ("mixer.h", "mixer.normed", "mixer.mixed"))
        self.input.lower(to, x, fcg)
        if self.residual is not None:
            self.residual.lower(to, x, fcg)
        to.emit("gate_scan", fcg.part(0, 2 * width), h, state=to.state(self, width))
        to.emit("rms_norm", h, normed)
        to.emit("silu_mul", None, mixed, a=fcg.part(2 * width, width), b=normed)
        if self.output is None:
            return mixed
        self.output.lower(to, mixed, out)
        return out
