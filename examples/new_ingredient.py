"""A new ingredient: trained, packed and run by the engine, without a change to the package.

    python examples/new_ingredient.py

An ingredient is a config class and the torch module that it builds. `lower` is for the packed file: it writes down, as
operations of the runtime, what `forward` computes for one step.
"""

import tempfile

from torch import Tensor, nn
from torch.nn.functional import silu

import cpu1
from cpu1.format.program import Slice
from cpu1.model.builder import Builder
from cpu1.model.recipe import Recipe, ingredient


@ingredient("ffn")
class SelfGated:
    """down(h · silu(h)) with h = up(x): a smooth form of Primer's squared ReLU (arXiv 2109.08668)."""

    expansion: int = 4  # the inner width, in widths of the model

    def build(self, recipe: Recipe) -> nn.Module:
        return SelfGatedModule(recipe, self.expansion * recipe.width)


class SelfGatedModule(nn.Module):
    """Shapes: B streams, T steps, D width, H inner width."""

    def __init__(self, recipe: Recipe, hidden: int) -> None:
        super().__init__()
        self.hidden = hidden
        self.input = recipe.linear.input(recipe.width, (hidden,))  # dense or ternary, as the recipe says
        self.output = recipe.linear.output(hidden, recipe.width)

    def forward(self, x: Tensor) -> Tensor:
        """(B, T, D) -> (B, T, D)."""
        h: Tensor = self.input(x)  # (B, T, H)
        y: Tensor = self.output(h * silu(h))
        return y

    def lower(self, to: Builder, x: Slice) -> Slice:
        """The slice that holds the branch's output."""
        h, inner = to.register("ffn.h", self.hidden), to.register("ffn.inner", self.hidden)
        out = to.register("branch", x.size)
        self.input.lower(to, x, h)
        to.emit("silu_mul", None, inner, a=h, b=h)
        self.output.lower(to, inner, out)
        return out


def main() -> None:
    """Trains run 07 with this feed-forward for a few seconds, then generates with the engine."""
    with tempfile.TemporaryDirectory() as folder:
        run = f"{folder}/self-gated"
        result = cpu1.train("07", run, scale="demo", bytes=100_000, changes={"ffn": "SelfGated"})
        print(f"{result['bpb']:.3f} bits per byte, a file of {result['file_bytes']:,} bytes")
        print(cpu1.load(f"{run}/model.cpu1").generate("def ", max_bytes=60, seed=0))


if __name__ == "__main__":
    main()
