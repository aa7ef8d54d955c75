"""What the local decoder looks up instead of computing it: tables of n-grams, and the memory of the document.

Both add vectors to the decoder's x before its perceptron, as the look-back does, so they are for the head
`LocalByteDecoder`. Tables hold what the training text says of a context, by its hash: BLT (arXiv 2412.09871) embeds
hashed n-grams, and so do others. The memory holds what this document says of it, as compressors do: `lookups.recall`.

Shapes: B streams, N bytes, K contexts, D width of the decoder, Q width of the byte table.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor, nn

from cpu1 import ops
from cpu1.data.split import Split
from cpu1.errors import UserError
from cpu1.format.program import Slice
from cpu1.lookups.contexts import check_contexts, check_power
from cpu1.lookups.readers import Reader, recall_reader, table_reader
from cpu1.lookups.recall import LEVELS, RecallShape
from cpu1.lookups.text import RecallLookup, TableLookup, open_codes
from cpu1.model.recipe import ingredient

if TYPE_CHECKING:
    from pathlib import Path

    from cpu1.model.builder import Builder

BYTES = 256
WORDS = {2: "two", 4: "four", 8: "eight"}  # bits of a value in a table


@ingredient("tables")
class NgramTables:
    """A table for each context, with a row of `width` values for each hash of it; one projection of all rows."""

    contexts: tuple[int, ...] = (3, 4, 5, 6, 9, 10)  # see lookups.contexts
    rows: int = 32768  # of each table, a power of two
    width: int = 16  # values of a row
    bits: int = 4  # of a value in the file, and in training too

    def build(self, width: int, quarter: int) -> nn.Module:
        """The tables of a decoder of `width`. UserError for sizes that do not fit."""
        check_contexts(self.contexts, "NgramTables")
        check_power("NgramTables: rows", self.rows, 16, 65536)
        check_row("NgramTables", self.width, self.bits)
        return NgramTablesModule(self, width)


def check_row(owner: str, width: int, bits: int) -> None:
    """Raises UserError unless rows of `width` values of so many bits can be packed."""
    if bits not in WORDS:
        raise UserError(f"{owner}: bits is {bits}; it must be one of {', '.join(map(str, WORDS))}")
    if width < 1 or width * bits % 8:
        raise UserError(f"{owner}: {width} values of {bits} bits do not fill whole bytes")


class HashedRows(nn.Module):
    """Rows that hashes select, read as the file will round them, and the projection of those that are selected."""

    def __init__(self, rows: int, width: int, bits: int, selected: int, out: int) -> None:
        """`rows` of `width` values of so many bits, of which `selected` at a time are projected to `out` values."""
        super().__init__()
        self.bits, self.levels = bits, 2 ** (bits - 1) - 1
        self.sparse = True  # gradients hold the rows that were read alone; what shards or captures steps sets it off
        self.table = nn.Parameter(torch.empty(rows, width))
        self.output = nn.Parameter(torch.empty(out, selected * width))

    def add(self, x: Tensor, rows: Tensor) -> Tensor:
        """Adds the projection of `rows` int32 (B, N, selected) to x (B, N, out)."""
        values = ops.gather_rows(self.table, rows, self.levels, self.sparse)
        return x + ops.linear(values.flatten(-2), self.output)

    def fields(self, to: "Builder") -> dict[str, str]:
        """Stores the tensors; returns the fields of an operation that name them and the bits of a value."""
        return {"bits": WORDS[self.bits], "rows": to.table(self.table, self.bits), "weight": to.tensor(self.output)}


def set_sparse(model: nn.Module, sparse: bool) -> None:
    """Whether gradients of all tables hold the rows that were read alone: for one process on a CPU."""
    for module in model.modules():
        if isinstance(module, HashedRows):
            module.sparse = sparse


class NgramTablesModule(HashedRows):
    """The tables, one below the other, and their projection."""

    def __init__(self, config: NgramTables, width: int) -> None:
        count = len(config.contexts)
        super().__init__(count * config.rows, config.width, config.bits, count, width)
        self.config = config

    def reader(self) -> Reader:
        """A reader at the beginning of a text."""
        return table_reader(self.config.contexts, self.config.rows)

    def of_text(self, split: Split, folder: "Path") -> TableLookup:
        """What windows of a training text look up."""
        return TableLookup(self.config.contexts, self.config.rows, split.stream, split.offsets)

    def forward(self, x: Tensor, rows: Tensor, table: Tensor) -> Tensor:
        """Adds the projected rows to x (B, N, D); `rows` int32 (B, N, K) are what a reader gives."""
        return self.add(x, rows)

    def lower(self, to: "Builder", x: Slice, table: Tensor, accumulate: bool) -> None:
        """Appends the operation, which writes `x`, or adds to it."""
        sizes = {"contexts": self.config.contexts, "table_size": self.config.rows}
        to.emit("table_rows", None, x, **sizes, **self.fields(to), accumulate=accumulate)


@ingredient("recall")
class DocumentMemory:
    """What followed the same contexts earlier in the document: two bytes and a level of trust for each context.

        x += first(a) g_l + second(b) h_l + c_l        for each context and for the match

    a, b are the bytes and l the level (`lookups.recall`). first(b) and second(b) are projections of the byte table.
    """

    contexts: tuple[int, ...] = (2, 3, 4, 6, 9)
    slots: int = 16384  # of each context, a power of two
    history: int = 65536  # bytes that matches are looked for in, a power of two
    match: int = 6  # bytes that must agree

    def build(self, width: int, quarter: int) -> nn.Module:
        """The memory of a decoder of `width` over a byte table of width `quarter`. UserError for sizes beyond range."""
        check_contexts(self.contexts, "DocumentMemory")
        check_power("DocumentMemory: slots", self.slots, 16, 65536)
        check_power("DocumentMemory: history", self.history, 256, 65536)
        if not 1 <= self.match <= 8:
            raise UserError(f"DocumentMemory: match is {self.match}; it must be from 1 to 8 bytes")
        return DocumentMemoryModule(self, width, quarter)


class DocumentMemoryModule(nn.Module):
    """The tensors of a DocumentMemory; the match counts as one more context."""

    def __init__(self, config: DocumentMemory, width: int, quarter: int) -> None:
        super().__init__()
        self.shape = RecallShape(config.contexts, config.slots, config.history, config.match)
        count = len(config.contexts) + 1
        self.first = nn.Parameter(torch.empty(count * width, quarter))
        self.second = nn.Parameter(torch.empty(count * width, quarter))
        self.first_gains = nn.Parameter(torch.empty(count, LEVELS, width))
        self.second_gains = nn.Parameter(torch.empty(count, LEVELS, width))
        self.offsets = nn.Parameter(torch.empty(count, LEVELS, width))

    def reader(self) -> Reader:
        """A memory at the beginning of a text."""
        return recall_reader(self.shape)

    def of_text(self, split: Split, folder: "Path") -> RecallLookup:
        """What windows of a training text look up; made once and kept beside the text."""
        return open_codes(split, self.shape, folder)

    def forward(self, x: Tensor, codes: Tensor, table: Tensor) -> Tensor:
        """Adds what `codes` uint8 (B, N, K + 1, 3) say to x (B, N, D); `table` (V, Q) is that of the bytes."""
        table = table[:BYTES]
        shape = (BYTES, len(self.offsets), -1)
        first, second = (ops.linear(table, matrix).view(shape) for matrix in (self.first, self.second))
        return ops.recall(x, codes, first, second, self.first_gains, self.second_gains, self.offsets)

    def lower(self, to: "Builder", x: Slice, table: Tensor, accumulate: bool) -> None:
        """Appends the operation, which writes `x`, or adds to it."""
        names = ("first", "second", "first_gains", "second_gains", "offsets")
        tensors = {name: to.tensor(getattr(self, name)) for name in names}
        sizes = {"memory_size": self.shape.slots, "history": self.shape.history, "match": self.shape.match}
        tensors["table"] = to.tensor(table)
        to.emit("recall", None, x, contexts=self.shape.contexts, **sizes, **tensors, accumulate=accumulate)


def read_lookups(
    modules: Sequence[Any], units: Tensor, readers: Sequence[Sequence[Reader]] | None, own: int = 0
) -> tuple[list[Tensor], list[list[Reader]]]:
    """What each of the modules looks up for units (B, N), and its readers (B of them) behind these.

    A separator of documents is read as NUL: no text goes on behind it. `readers` None begins new texts. The readers
    that are given stay as they are. The model drew the last `own` of the units itself.
    """
    if not modules:
        return [], []
    text = units.to("cpu", torch.uint8).numpy()
    given = text.shape[1] - own
    found, after = [], []
    for i, module in enumerate(modules):
        fresh = [module.reader() if readers is None else readers[i][b].copy() for b in range(len(text))]
        said = [
            np.concatenate((reader.read(row[:given]), reader.read(row[given:], own=True)))
            for reader, row in zip(fresh, text, strict=True)
        ]
        found.append(torch.from_numpy(np.stack(said)).to(units.device))
        after.append(fresh)
    return found, after
