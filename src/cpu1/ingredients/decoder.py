"""From the trunk's vectors to the logits of the next units.

`recent` (B, 3) holds the bytes before the first unit of a call, ABSENT where the document had not begun.
"""

from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from cpu1 import ops
from cpu1.ingredients.embedding import PATCH
from cpu1.program import Slice
from cpu1.recipes import ingredient

if TYPE_CHECKING:
    from cpu1.lowering import Builder

LOOK_BACK = 3  # bytes
ABSENT = 256  # stands for "no byte": it contributes nothing


@ingredient
class FourHeads:
    """Four independent predictions, one for each byte of the next patch."""

    def build(self, width: int) -> nn.Module:
        return FourHeadsModule(width)


class FourHeadsModule(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.output = nn.Parameter(torch.empty(PATCH * 256, width))

    def forward(self, s: Tensor, units: Tensor, recent: Tensor, table: Tensor) -> Tensor:
        """s (B, T, D) -> (B, T, 4, 256)."""
        return ops.linear(s, self.output).unflatten(-1, (PATCH, 256))

    def lower(self, to: "Builder", s: Slice, table: Tensor) -> None:
        to.emit("patch_heads", s, None, output=to.tensor(self.output))


@ingredient
class TokenHead:
    """An untied projection onto the BPE vocabulary."""

    vocabulary: int

    def build(self, width: int) -> nn.Module:
        return TokenHeadModule(self.vocabulary, width)


class TokenHeadModule(nn.Module):
    def __init__(self, vocabulary: int, width: int) -> None:
        super().__init__()
        self.output = nn.Parameter(torch.empty(vocabulary, width))

    def forward(self, s: Tensor, units: Tensor, recent: Tensor, table: Tensor) -> Tensor:
        """s (B, T, D) -> (B, T, 1, V)."""
        return ops.linear(s, self.output).unsqueeze(-2)

    def lower(self, to: "Builder", s: Slice, table: Tensor) -> None:
        to.emit("patch_heads", s, None, output=to.tensor(self.output))


@ingredient
class LocalByteDecoder:
    """Predicts each byte from the trunk's vector and the three bytes before it, across the patch border.

        x = C_j s + D_1 e(b_{i-1}) + D_2 e(b_{i-2}) + D_3 e(b_{i-3})
        x += W_down relu(W_up norm(x) + b_up)² + b_down
        logits = W_out norm(x) + b_out

    j is the slot in the patch, e the byte table. The form is a reconstruction under the card's size.
    """

    width: int = 192
    hidden: int = 864

    def build(self, width: int) -> nn.Module:
        return LocalByteDecoderModule(self, width)


class LocalByteDecoderModule(nn.Module):
    def __init__(self, config: LocalByteDecoder, width: int) -> None:
        super().__init__()
        inner = config.width
        self.slots = nn.Parameter(torch.empty(PATCH * inner, width))  # C_j, stacked
        self.back = nn.Parameter(torch.empty(LOOK_BACK, inner, width // PATCH))  # D_k
        self.up = nn.Parameter(torch.empty(config.hidden, inner))
        self.up_bias = nn.Parameter(torch.empty(config.hidden))
        self.down = nn.Parameter(torch.empty(inner, config.hidden))
        self.down_bias = nn.Parameter(torch.empty(inner))
        self.output = nn.Parameter(torch.empty(256, inner))
        self.output_bias = nn.Parameter(torch.empty(256))

    def forward(self, s: Tensor, units: Tensor, recent: Tensor, table: Tensor) -> Tensor:
        """s (B, T, D), bytes (B, 4 T), recent (B, 3), table (256, D / 4) -> (B, T, 4, 256)."""
        # D_k e(b) are 256 x 3 fixed vectors for one set of weights: looked up and added
        vectors = ops.linear(table, self.back.flatten(0, 1)).view(-1, *self.back.shape[:2])
        x = ops.linear(s, self.slots).view(*units.shape, -1)
        x = ops.look_back(x, vectors, torch.cat((recent, units), dim=1))
        x = ops.relu2_mlp(x, self.up, self.up_bias, self.down, self.down_bias)
        return ops.linear(x, self.output, self.output_bias, norm=True).unflatten(1, (-1, PATCH))

    def lower(self, to: "Builder", s: Slice, table: Tensor) -> None:
        names = ("slots", "up", "up_bias", "down", "down_bias", "output", "output_bias")
        tensors = {name: to.tensor(getattr(self, name)) for name in names}
        to.emit("local_decode", s, None, **tensors, back=to.derived("bytes", _look_back_vectors, self.back, table))


def _look_back_vectors(back: NDArray[np.float32], table: NDArray[np.float32]) -> NDArray[np.float32]:
    """D_k e(b) (3, 256, inner), summed in double so that every machine rounds the same."""
    return np.einsum("kiw,vw->kvi", back.astype(np.float64), table.astype(np.float64)).astype(np.float32)
