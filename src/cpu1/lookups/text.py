"""What the documents of a training text look up, for windows anywhere in it.

The memory of a window is that of its document from the beginning, so its codes are made once for a whole text, in one
pass, and kept on disk: 3 bytes a context for each byte of text. Rows of tables are found again for each window, from a
little text before it.

Shapes: N bytes of a stream, B windows of L bytes, K contexts.
"""

import hashlib
import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from cpu1.data.cache import cached
from cpu1.data.split import Split
from cpu1.errors import UserError
from cpu1.lookups.readers import native, native_shape, recall_reader, table_reader
from cpu1.lookups.recall import RecallShape

BEFORE = 64  # bytes before a window that its tables' contexts may reach into
FORMAT = 1
SHARE = 1 << 20  # bytes, about, that a thread takes at a time


@dataclass(frozen=True)
class TableLookup:
    """The rows that windows of a text read of tables."""

    contexts: tuple[int, ...]
    rows: int
    stream: NDArray[np.uint8]
    offsets: NDArray[np.int64]  # where documents begin

    def windows(self, starts: NDArray[np.int64], length: int) -> NDArray[np.int32]:
        """The rows (B, L, K) of windows that begin at `starts` (B,) of the stream."""
        return np.stack([self._window(start, length) for start in starts.tolist()])

    def whole(self) -> NDArray[np.int32]:
        """The rows (N, K) of the whole stream."""
        out = np.empty((len(self.stream), len(self.contexts)), np.int32)

        def write(borders: NDArray[np.int64]) -> None:
            for first, last in pairwise(borders.tolist()):
                out[first:last] = table_reader(self.contexts, self.rows).read(self.stream[first:last])

        _side_by_side(write, self.offsets)
        return out

    def _window(self, start: int, length: int) -> NDArray[np.int32]:
        """What a document that begins inside the window finds, it finds without the one before it."""
        first, last = np.searchsorted(self.offsets, [start, start + length - 1], "right") - 1
        borders = [int(border) for border in self.offsets[first + 1 : last + 1]]
        begin = max(int(self.offsets[first]), start - BEFORE)
        parts = []
        for left, right in zip([begin, *borders], [*borders, start + length], strict=True):
            parts.append(table_reader(self.contexts, self.rows).read(self.stream[left:right]))
        return np.concatenate(parts)[start - begin :]


@dataclass(frozen=True)
class RecallLookup:
    """What windows of a text are told by the memories of their documents."""

    codes: NDArray[np.uint8]  # (N, K + 1, 3)

    def windows(self, starts: NDArray[np.int64], length: int) -> NDArray[np.uint8]:
        """The codes (B, L, K + 1, 3) of windows that begin at `starts` (B,) of the stream."""
        return self.codes[starts[:, None] + np.arange(length)]

    def whole(self) -> NDArray[np.uint8]:
        """The codes of the whole stream."""
        return np.array(self.codes)


def open_codes(split: Split, shape: RecallShape, folder: Path) -> RecallLookup:
    """The codes of a split: made in the first call, from then on read from a folder beside the text's.

    UserError where the disk has no room for them.
    """
    name = hashlib.sha256(repr((FORMAT, shape)).encode()).hexdigest()[:12]
    wanted = len(split.stream) * shape.code_size

    def open_(path: Path) -> RecallLookup:
        try:
            codes = np.memmap(path / "codes.bin", np.uint8, "r")
        except (OSError, ValueError):
            raise UserError(f"{path}: no codes here") from None
        if len(codes) != wanted:
            raise UserError(f"{path}: not the codes of this text")
        return RecallLookup(codes.reshape(len(split.stream), -1, 3))

    def build(path: Path) -> None:
        out = np.memmap(path / "codes.bin", np.uint8, "w+", shape=(len(split.stream), shape.code_size))
        write_codes(split, shape, out)
        out.flush()

    return cached(folder.with_name(f"{folder.name}.recall-{name}"), open_, build)


def write_codes(split: Split, shape: RecallShape, out: NDArray[np.uint8]) -> None:
    """Writes the codes (N, 3 (K + 1)) of all bytes of a split, separators included."""
    text = np.asarray(split.stream)

    def write(borders: NDArray[np.int64]) -> None:
        whole = slice(borders[0], borders[-1])
        if native is not None:
            native.recall_codes(native_shape(shape), text[whole], borders[1:] - borders[0], out[whole])
            return
        for first, last in pairwise(borders.tolist()):
            out[first:last] = recall_reader(shape).read(text[first:last]).reshape(last - first, -1)

    _side_by_side(write, split.offsets)


def _side_by_side(work: Callable[[NDArray[np.int64]], None], offsets: NDArray[np.int64]) -> None:
    """Calls `work` with the borders of a few documents at a time, until all are done, in a thread for each core."""
    places = np.append(np.arange(0, int(offsets[-1]), SHARE), offsets[-1])
    parts = [offsets[first : last + 1] for first, last in pairwise(np.unique(np.searchsorted(offsets, places)))]
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        list(pool.map(work, parts))
