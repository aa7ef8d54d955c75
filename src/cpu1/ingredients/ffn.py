"""SwiGLU feed-forward (arXiv 2002.05202): down(silu(gate(x)) * up(x))."""

from torch import Tensor, nn

from cpu1 import ops
from cpu1.recipes import Recipe, ingredient


@ingredient
class SwiGLU:
    multiple: int = 32  # the inner width is 8/3 of the width, rounded up to this

    def hidden(self, width: int) -> int:
        return -(-8 * width // (3 * self.multiple)) * self.multiple

    def build(self, recipe: Recipe) -> nn.Module:
        return SwiGLUModule(recipe, self.hidden(recipe.width))


class SwiGLUModule(nn.Module):
    def __init__(self, recipe: Recipe, hidden: int) -> None:
        super().__init__()
        self.input = recipe.linear.input(recipe.width, (hidden, hidden))  # gate, up
        self.output = recipe.linear.output(hidden, recipe.width)

    def forward(self, x: Tensor) -> Tensor:
        """(B, T, D) -> (B, T, D)."""
        return self.output(ops.swiglu(self.input(x)))
