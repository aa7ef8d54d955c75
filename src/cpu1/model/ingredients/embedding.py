"""Units to vectors: a patch of four bytes, a patch that ends behind a word, or one BPE token.

Shapes: B streams, T steps (patches or tokens), D width, V symbols.
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from cpu1 import ops
from cpu1.errors import UserError
from cpu1.format.program import Slice
from cpu1.format.tokens import BYTE_SYMBOLS, OLD_BYTE_SYMBOLS
from cpu1.lookups.contexts import check_power
from cpu1.lookups.patches import WORDS, patch_rows, starts
from cpu1.model.ingredients.lookups import HashedRows, check_row
from cpu1.model.recipe import ingredient
from cpu1.records import later

if TYPE_CHECKING:
    from cpu1.model.builder import Builder

PATCH = 4  # bytes
QUARTERS = 4  # of the width of the trunk, the width of the byte table is one
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


@dataclass(frozen=True)
class Cut:
    """Where patches of different length lie in units (B, N)."""

    step: Tensor  # (B, N): the patch that each unit is in
    slot: Tensor  # (B, N): its place in that patch
    count: int  # patches, of the row that has most; the last may have begun only
    whole: int  # patches of the first row that are whole

    def take(self, x: Tensor) -> Tensor:
        """What each unit gets of x (B, T, patch, W), which has a vector for each place of each patch: (B, N, W)."""
        places = self.step * x.shape[2] + self.slot
        return x.flatten(1, 2).gather(1, places[..., None].expand(-1, -1, x.shape[-1]))

    def after(self, first: int) -> "Cut":
        """Of the units from `first` on; steps are counted as before."""
        return Cut(self.step[:, first:], self.slot[:, first:], self.count, self.whole)


@ingredient("embedding")
class WordPatchEmbedding:
    """The vectors of a patch's bytes, up to eight, side by side, and a row that a hash of the patch selects.

    Patches end behind words (`lookups.patches`), as those of SpaceByte (arXiv 2404.14408) begin at them. Places without
    a byte are zeros. The decoder has a byte table of its own, since that of patches has half as many values.
    """

    rows: int = 16384  # of the table of hashes, a power of two
    row_width: int = 32
    bits: int = 4  # of a value in the file, and in training too
    symbols: int = BYTE_SYMBOLS
    level = "byte"
    patch = WORDS

    @property
    def vocabulary(self) -> int:
        """As of a PatchEmbedding."""
        return self.symbols

    def build(self, width: int) -> nn.Module:
        """The embedding for a trunk of `width`. UserError unless eight divides it."""
        if width % WORDS:
            raise UserError(f"WordPatchEmbedding: the width {width} is not a multiple of {WORDS}")
        check_power("WordPatchEmbedding: rows", self.rows, 16, 65536)
        check_row("WordPatchEmbedding", self.row_width, self.bits)
        return WordPatchEmbeddingModule(self, width)


class PatchRows(HashedRows):
    """A row for each hash of a patch."""

    def forward(self, x: Tensor, patches: Tensor, absent: int) -> Tensor:
        """Adds to x (B, T, D) what patches (B, T, 8) select; `absent` fills their ends."""
        rows = patch_rows(patches.cpu().numpy(), absent, len(self.table))
        return self.add(x, torch.from_numpy(rows).to(x.device)[..., None])

    def lower(self, to: "Builder") -> dict[str, str]:
        """Stores the tensors; returns the fields that name them."""
        return self.fields(to)


class WordPatchEmbeddingModule(nn.Module):
    """Two byte tables, the vector before the first patch, and the rows that patches select."""

    def __init__(self, config: WordPatchEmbedding, width: int) -> None:
        super().__init__()
        self.bytes = nn.Parameter(torch.empty(_checked(config.symbols), width // QUARTERS))
        self.parts = nn.Parameter(torch.empty(config.symbols, width // WORDS))
        self.start = nn.Parameter(torch.empty(width))
        self.rows = PatchRows(config.rows, config.row_width, config.bits, 1, width)

    def table(self) -> Tensor:
        """The decoder's byte table (V, D / 4)."""
        return self.bytes

    def first(self, batch: int) -> Tensor:
        """The vector before the first patch, for each stream (B, 1, D)."""
        return self.start.expand(batch, 1, -1)

    def cut(self, units: Tensor) -> Cut:
        """The patches of units (B, N), the first of which begins a patch."""
        texts = units.cpu().numpy()
        step, slot, whole = np.zeros(texts.shape, np.int64), np.zeros(texts.shape, np.int64), []
        for row, text in enumerate(texts):
            places = starts(text)
            begins = places[places < len(text)]
            step[row, begins[1:]] = 1
            step[row] = step[row].cumsum()
            slot[row] = np.arange(len(text)) - begins[step[row]]
            whole.append(len(places) - 1)
        to = units.device
        return Cut(torch.from_numpy(step).to(to), torch.from_numpy(slot).to(to), int(step.max()) + 1, whole[0])

    def forward(self, units: Tensor, cut: Cut) -> Tensor:
        """Bytes (B, N) -> vectors (B, T, D), T = cut.count."""
        absent = len(self.parts)
        places = cut.step * WORDS + cut.slot
        grid = (
            units.new_full((len(units), cut.count * WORDS), absent).scatter(1, places, units).unflatten(1, (-1, WORDS))
        )
        x = F.embedding(grid, F.pad(self.parts, (0, 0, 0, 1))).flatten(-2)
        return self.rows(x, grid, absent)

    def lower(self, to: "Builder", x: Slice) -> None:
        """Appends the embedding, which writes the residual stream `x`."""
        tensors = {"table": to.tensor(self.parts), "start": to.tensor(self.start), **self.rows.lower(to)}
        to.emit("embed_words", None, x, table_size=len(self.rows.table), **tensors)


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
