"""Gated feed-forwards: down(act(gate(x)) * up(x)).

Shapes: B streams, T steps, D width.
"""

from typing import TYPE_CHECKING, Any

from torch import Tensor, nn

from cpu1.errors import UserError
from cpu1.format.program import Slice
from cpu1.model.recipe import Recipe, ingredient

if TYPE_CHECKING:
    from cpu1.model.builder import Builder


@ingredient("ffn")
class SwiGLU:
    """act = silu (arXiv 2002.05202)."""

    multiple: int = 32  # the inner width is 8/3 of the width, rounded up to this

    def hidden(self, width: int) -> int:
        """The inner width for a trunk of `width`."""
        return -(-8 * width // (3 * self.multiple)) * self.multiple

    def build(self, recipe: Recipe) -> nn.Module:
        """The FFN of one block."""
        return SwiGLUModule(recipe, self.hidden(recipe.width))


class SwiGLUModule(nn.Module):
    """The FFN of one block: stacked projections to gate and up, and down."""

    input: Any
    output: Any

    def __init__(self, recipe: Recipe, hidden: int) -> None:
        super().__init__()
        self.hidden = hidden
        self.input = recipe.linear.input(recipe.width, (hidden, hidden))  # gate, up
        self.output = recipe.linear.output(hidden, recipe.width)

    def forward(self, x: Tensor) -> Tensor:
        """x (B, T, D) -> y (B, T, D)."""
        return self.output.of_swiglu(x, self.input)

    def lower(self, to: "Builder", x: Slice) -> Slice:
        """Appends the FFN's operations on the residual stream `x`; returns the slice of y."""
        gate_up, inner = to.register("ffn.gate_up", 2 * self.hidden), to.register("ffn.inner", self.hidden)
        out = to.register("branch", x.size)
        self.input.lower(to, x, gate_up)
        gate, up = gate_up.part(0, self.hidden), gate_up.part(self.hidden, self.hidden)
        to.emit("silu_mul", None, inner, a=gate, b=up)
        self.output.lower(to, inner, out)
        return out


@ingredient("ffn")
class ReLU2:
    """act = relu², which leaves most of the inner vector zero (BitNet b1.58 2B4T, arXiv 2504.12285)."""

    multiple: int = 32  # as in SwiGLU

    def build(self, recipe: Recipe) -> nn.Module:
        """The FFN of one block."""
        return ReLU2Module(recipe, SwiGLU(self.multiple).hidden(recipe.width))


class ReLU2Module(SwiGLUModule):
    """A SwiGLU's projections with another activation."""

    def forward(self, x: Tensor) -> Tensor:
        """x (B, T, D) -> y (B, T, D)."""
        gate, up = self.input(x).chunk(2, dim=-1)
        return self.output(gate.relu().square() * up)

    def lower(self, to: "Builder", x: Slice) -> Slice:
        """UserError: no operation of the runtime computes it."""
        raise UserError("ReLU2 cannot be packed yet: the runtime has no operation relu2(a) · b")
