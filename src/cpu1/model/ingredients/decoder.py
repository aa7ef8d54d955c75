"""From the trunk's vectors to the logits of the next units.

`recent` (B, look_back) holds the bytes before the first unit of a call, ABSENT where the document had not begun.

Shapes: B streams, T steps, D width of the trunk, V symbols.
"""

from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from cpu1 import ops
from cpu1.errors import UserError
from cpu1.format.operations import LOOK_BACK
from cpu1.format.program import Slice
from cpu1.model.ingredients.embedding import QUARTERS, Cut
from cpu1.model.recipe import ingredient
from cpu1.records import later

if TYPE_CHECKING:
    from cpu1.model.builder import Builder


@ingredient("head")
class FourHeads:
    """Independent predictions, one for each byte of the next patch: four with patches of four."""

    def build(self, width: int, symbols: int, patch: int) -> nn.Module:
        """The head over a trunk of `width`."""
        return FourHeadsModule(width, symbols, patch)


class FourHeadsModule(nn.Module):
    """One matrix from s to the logits of four bytes."""

    look_back = 0

    def __init__(self, width: int, symbols: int, patch: int) -> None:
        super().__init__()
        self.patch = patch
        self.output = nn.Parameter(torch.empty(patch * symbols, width))

    def forward(self, s: Tensor, units: Tensor, recent: Tensor, table: Tensor) -> Tensor:
        """s (B, T, D) -> logits (B, T, 4, V); the bytes are not read."""
        return ops.linear(s, self.output).unflatten(-1, (self.patch, -1))

    def lower(self, to: "Builder", s: Slice, table: Tensor) -> None:
        """Appends the head over `s`."""
        to.emit("patch_heads", s, None, output=to.tensor(self.output))


@ingredient("head")
class TokenHead:
    """An untied projection onto the BPE vocabulary."""

    vocabulary: int

    def build(self, width: int, symbols: int, patch: int) -> nn.Module:
        """The head over a trunk of `width`."""
        return TokenHeadModule(self.vocabulary, width)


class TokenHeadModule(nn.Module):
    """One matrix from s to the logits of a token."""

    look_back = 0

    def __init__(self, vocabulary: int, width: int) -> None:
        super().__init__()
        self.output = nn.Parameter(torch.empty(vocabulary, width))

    def forward(self, s: Tensor, units: Tensor, recent: Tensor, table: Tensor) -> Tensor:
        """s (B, T, D) -> logits (B, T, 1, V); the tokens are not read."""
        return ops.linear(s, self.output).unsqueeze(-2)

    def lower(self, to: "Builder", s: Slice, table: Tensor) -> None:
        """Appends the head over `s`."""
        to.emit("patch_heads", s, None, output=to.tensor(self.output))


@ingredient("head")
class LocalByteDecoder:
    """Predicts each byte from the trunk's vector and the n = `look_back` bytes before it, across the patch border.

        x = C_j s + D_1 e(b_{i-1}) + ... + D_n e(b_{i-n})
        x += what the lookups find, if there are any (`lookups`)
        x += W_down relu(W_up norm(x) + b_up)² + b_down
        logits = W_out norm(x) + b_out

    j is the slot in the patch, e the byte table. The form is a reconstruction that fits the card's size.
    """

    width: int = 192
    hidden: int = 864
    look_back: int = later(default=3)  # bytes, at most `LOOK_BACK`

    def build(self, width: int, symbols: int, patch: int) -> nn.Module:
        """The head over a trunk of `width`. UserError for a look-back of more than `LOOK_BACK` bytes."""
        if self.look_back > LOOK_BACK:
            raise UserError(f"LocalByteDecoder: look_back {self.look_back} is more than {LOOK_BACK} bytes")
        return LocalByteDecoderModule(self, width, symbols, patch)


class LocalByteDecoderModule(nn.Module):
    """The tensors of a LocalByteDecoder."""

    def __init__(self, config: LocalByteDecoder, width: int, symbols: int, patch: int) -> None:
        super().__init__()
        inner, self.look_back, self.patch = config.width, config.look_back, patch
        self.slots = nn.Parameter(torch.empty(patch * inner, width))  # C_j, stacked
        self.back = nn.Parameter(torch.empty(self.look_back, inner, width // QUARTERS))  # D_k
        self.up = nn.Parameter(torch.empty(config.hidden, inner))
        self.up_bias = nn.Parameter(torch.empty(config.hidden))
        self.down = nn.Parameter(torch.empty(inner, config.hidden))
        self.down_bias = nn.Parameter(torch.empty(inner))
        self.output = nn.Parameter(torch.empty(symbols, inner))
        self.output_bias = nn.Parameter(torch.empty(symbols))

    def forward(
        self,
        s: Tensor,
        units: Tensor,
        recent: Tensor,
        table: Tensor,
        look_up: Callable[[Tensor], Tensor] = lambda x: x,
        cut: Cut | None = None,
    ) -> Tensor:
        """s (B, T, D), bytes (B, N), recent (B, look_back), table (V, D / 4) -> logits (B, T, patch, V), N = T * patch.

        `look_up` adds to x (B, N, width) what the model's lookups find. With a `cut` patches differ in length, and the
        logits are (B, N, 1, V).
        """
        # D_k e(b) are V look_back fixed vectors for one set of weights: looked up and added
        vectors = ops.linear(table, self.back.flatten(0, 1)).view(-1, *self.back.shape[:2])
        x = ops.linear(s, self.slots)
        x = x.view(*units.shape, -1) if cut is None else cut.take(x.unflatten(-1, (self.patch, -1)))
        x = ops.look_back(x, vectors, torch.cat((recent, units), dim=1))
        x = look_up(x)
        x = ops.relu2_mlp(x, self.up, self.up_bias, self.down, self.down_bias)
        x = ops.linear(x, self.output, self.output_bias, norm=True)
        return x.unflatten(1, (-1, self.patch if cut is None else 1))

    def lower(self, to: "Builder", s: Slice, table: Tensor, added: Slice | None = None) -> None:
        """Appends the head over `s`, with what lookups have found in `added`."""
        names = ("slots", "up", "up_bias", "down", "down_bias", "output", "output_bias")
        tensors = {name: to.tensor(getattr(self, name)) for name in names}
        back = to.derived("bytes", _look_back_vectors, self.back, table)
        to.emit("local_decode", s, None, **tensors, back=back, look_back=self.look_back, added=added)


def _look_back_vectors(back: NDArray[np.float32], table: NDArray[np.float32]) -> NDArray[np.float32]:
    """D_k e(b) (look_back, V, inner), summed in double so that every machine rounds the same."""
    return np.einsum("kiw,vw->kvi", back.astype(np.float64), table.astype(np.float64)).astype(np.float32)
