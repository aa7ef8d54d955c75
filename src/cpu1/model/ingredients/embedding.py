"""Units to vectors: a patch of four bytes, or one BPE token.

Shapes: B streams, T steps (patches or tokens), D width, V symbols.
"""

from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from cpu1 import ops
from cpu1.errors import UserError
from cpu1.format.program import Slice
from cpu1.format.tokens import BYTE_SYMBOLS, OLD_BYTE_SYMBOLS
from cpu1.model.recipe import ingredient
from cpu1.records import later

if TYPE_CHECKING:
    from cpu1.model.builder import Builder

PATCH = 4  # bytes
ABSENT = BYTE_SYMBOLS  # the symbol for "no byte", which contributes nothing


@ingredient("embedding")
class PatchEmbedding:
    """The vectors of a patch's four bytes, side by side; a learned vector precedes the first patch."""

    symbols: int = later(default=BYTE_SYMBOLS, before=OLD_BYTE_SYMBOLS)  # see format.tokens
    level = "byte"
    patch = PATCH

    @property
    def vocabulary(self) -> int:
        """The bytes, and the separator of documents; the bytes alone in older models."""
        return self.symbols

    def build(self, width: int) -> nn.Module:
        """The embedding for a trunk of `width`. UserError unless four divides it."""
        return PatchEmbeddingModule(_quarter(width), _checked(self.symbols))


class PatchEmbeddingModule(nn.Module):
    """The byte table, and the vector before the first patch."""

    def __init__(self, quarter: int, symbols: int) -> None:
        super().__init__()
        self.bytes = nn.Parameter(torch.empty(symbols, quarter))
        self.start = nn.Parameter(torch.empty(PATCH * quarter))  # never zero: a zero row has no direction

    def table(self) -> Tensor:
        """The byte table (V, D / 4), shared with the local decoder."""
        return self.bytes

    def first(self, batch: int) -> Tensor:
        """The vector before the first patch, for each stream (B, 1, D)."""
        return self.start.expand(batch, 1, -1)

    def forward(self, units: Tensor) -> Tensor:
        """Bytes (B, 4 T) -> vectors (B, T, D)."""
        return F.embedding(units, self.bytes).unflatten(1, (-1, PATCH)).flatten(-2)

    def lower(self, to: "Builder", x: Slice) -> None:
        """Appends the embedding, which writes the residual stream `x`."""
        to.emit("embed_bytes", None, x, table=to.tensor(self.bytes), start=to.tensor(self.start))


@ingredient("embedding")
class BolmoPatchEmbedding:
    """A causal depthwise mix of the four byte vectors inside the patch, added to them.

    Bolmo (arXiv 2512.15586) pools a patch by the state of its last byte after a local causal mixer. This form fits the
    card's size. It is causal: with fixed patches any look-ahead would leak the bytes to be predicted.
    """

    symbols: int = later(default=BYTE_SYMBOLS, before=OLD_BYTE_SYMBOLS)  # see format.tokens
    level = "byte"
    patch = PATCH

    @property
    def vocabulary(self) -> int:
        """As of a PatchEmbedding."""
        return self.symbols

    def build(self, width: int) -> nn.Module:
        """The embedding for a trunk of `width`. UserError unless four divides it."""
        return BolmoPatchEmbeddingModule(_quarter(width), _checked(self.symbols))


class BolmoPatchEmbeddingModule(PatchEmbeddingModule):
    """A PatchEmbedding's tensors, and the taps and bias of the mix."""

    def __init__(self, quarter: int, symbols: int) -> None:
        super().__init__(quarter, symbols)
        self.taps = nn.Parameter(torch.empty(PATCH, quarter))  # tap k weighs the byte k positions back
        self.bias = nn.Parameter(torch.empty(quarter))

    def forward(self, units: Tensor) -> Tensor:
        """Bytes (B, 4 T) -> (B, T, D): each byte's vector plus Σ_k tap_k · the vector of the byte k positions back."""
        # tap_k · e(b) are 4 V fixed vectors for one set of weights: looked up and added, patch by patch
        taps = self.bytes[:, None] * self.taps
        vectors = torch.cat(((self.bytes + self.bias)[:, None] + taps[:, :1], taps[:, 1:]), dim=1)
        patches = units.reshape(-1, PATCH)
        # `look_back` begins one symbol back, the taps with the symbol itself: hence one more symbol at the end
        stream = F.pad(patches, (PATCH - 1, 1), value=ABSENT)
        mixed = ops.look_back(vectors.new_zeros(*patches.shape, vectors.shape[-1]), vectors, stream)
        return mixed.view(len(units), -1, PATCH * vectors.shape[-1])

    def lower(self, to: "Builder", x: Slice) -> None:
        tensors = {"table": self.bytes, "start": self.start, "taps": self.taps, "bias": self.bias}
        to.emit("embed_bytes", None, x, **{name: to.tensor(tensor) for name, tensor in tensors.items()})


def _checked(symbols: int) -> int:
    if symbols not in (BYTE_SYMBOLS, OLD_BYTE_SYMBOLS):
        raise UserError(f"patch embedding: {symbols} symbols; there are {BYTE_SYMBOLS}: the bytes and a separator")
    return symbols


def _quarter(width: int) -> int:
    if width % PATCH:
        raise UserError(f"patch embedding: the width {width} is not a multiple of {PATCH}")
    return width // PATCH


@ingredient("embedding")
class TokenEmbedding:
    """One vector a BPE token; the separator token (0) precedes the first."""

    vocabulary: int
    level = "token"
    patch = 1

    def build(self, width: int) -> nn.Module:
        """The embedding for a trunk of `width`."""
        return TokenEmbeddingModule(self.vocabulary, width)


class TokenEmbeddingModule(nn.Module):
    """The token table."""

    def __init__(self, vocabulary: int, width: int) -> None:
        super().__init__()
        self.tokens = nn.Parameter(torch.empty(vocabulary, width))

    def table(self) -> Tensor:
        """The token table (V, D)."""
        return self.tokens

    def first(self, batch: int) -> Tensor:
        """The separator's vector, for each stream (B, 1, D)."""
        return self.tokens[:1].expand(batch, 1, -1)

    def forward(self, units: Tensor) -> Tensor:
        """Tokens (B, T) -> vectors (B, T, D)."""
        return F.embedding(units, self.tokens)

    def lower(self, to: "Builder", x: Slice) -> None:
        """Appends the embedding, which writes the residual stream `x`."""
        to.emit("embed_token", None, x, table=to.tensor(self.tokens))
