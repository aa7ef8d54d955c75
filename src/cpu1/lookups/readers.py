"""Readers: what a text looks up, byte by byte, in the engine's form or, without a compiler, in the plain one.

Each reads one text. Shapes: N bytes, K contexts.
"""

import importlib
import importlib.util
from collections.abc import Sequence
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from cpu1.lookups.contexts import Contexts
from cpu1.lookups.recall import Recall, RecallShape


def _load() -> Any:
    """The engine's module, or None in a build without a C++ compiler."""
    return importlib.import_module("cpu1._engine") if importlib.util.find_spec("cpu1._engine") else None


native = _load()


class Reader(Protocol):
    """The position of one text.

    `read` returns what was looked up for each byte (N, ...) before it was read, `look` the same for the byte that comes
    next. `copy` is another reader at the same position. What a model has drawn is its `own`: nothing is
    learned from it.
    """

    def copy(self) -> "Reader": ...
    def look(self) -> NDArray[Any]: ...
    def read(self, text: NDArray[np.uint8], own: bool = False) -> NDArray[Any]: ...


def table_reader(contexts: Sequence[int], rows: int) -> Reader:
    """A reader of tables at the beginning of a text: int32 (K,) a byte. Context k's row is k * rows + hash.

    `rows` is a power of two.
    """
    return _PlainTables(contexts, rows) if native is None else _NativeTables(contexts, rows)


def recall_reader(shape: RecallShape) -> Reader:
    """A memory at the beginning of a text: codes uint8 (K + 1, 3) a byte."""
    return _PlainRecall(shape) if native is None else _NativeRecall(shape)


def plain_table_reader(contexts: Sequence[int], rows: int) -> Reader:
    """As `table_reader`, always in the plain form."""
    return _PlainTables(contexts, rows)


def plain_recall_reader(shape: RecallShape) -> Reader:
    """As `recall_reader`, always in the plain form."""
    return _PlainRecall(shape)


class _PlainTables:
    def __init__(self, contexts: Sequence[int], rows: int) -> None:
        self.contexts, self.rows = tuple(contexts), rows
        self._read = Contexts()

    def copy(self) -> "_PlainTables":
        other = _PlainTables(self.contexts, self.rows)
        other._read.__dict__.update(self._read.__dict__)
        return other

    def look(self) -> NDArray[np.int32]:
        shift = 65 - self.rows.bit_length()
        hashes = [self._read.hash(context) >> shift for context in self.contexts]
        return np.array([k * self.rows + row for k, row in enumerate(hashes)], np.int32)

    def read(self, text: NDArray[np.uint8], own: bool = False) -> NDArray[np.int32]:
        out = np.empty((len(text), len(self.contexts)), np.int32)
        for i, byte in enumerate(text.tolist()):
            out[i] = self.look()
            self._read.read(byte)
        return out


class _NativeTables:
    def __init__(self, contexts: Sequence[int], rows: int, like: Any = None) -> None:
        self.contexts, self.rows = tuple(contexts), rows
        self._tables = native.Tables(list(contexts), rows.bit_length() - 1) if like is None else like

    def copy(self) -> "_NativeTables":
        return _NativeTables(self.contexts, self.rows, self._tables.copy())

    def look(self) -> NDArray[np.int32]:
        out = np.empty(len(self.contexts), np.int32)
        self._tables.look(out)
        return out

    def read(self, text: NDArray[np.uint8], own: bool = False) -> NDArray[np.int32]:
        out = np.empty((len(text), len(self.contexts)), np.int32)
        self._tables.read(np.ascontiguousarray(text, np.uint8), out)
        return out


class _PlainRecall:
    def __init__(self, shape: RecallShape) -> None:
        self._recall = Recall(shape)

    def copy(self) -> "_PlainRecall":
        other = _PlainRecall(self._recall.shape)
        other._recall = self._recall.copy()
        return other

    def look(self) -> NDArray[np.uint8]:
        return self._recall.look()

    def read(self, text: NDArray[np.uint8], own: bool = False) -> NDArray[np.uint8]:
        return self._recall.read(text.tobytes(), own)


class _NativeRecall:
    def __init__(self, shape: RecallShape, like: Any = None) -> None:
        self.shape = shape
        self._recall = native.Recall(native_shape(shape)) if like is None else like

    def copy(self) -> "_NativeRecall":
        return _NativeRecall(self.shape, self._recall.copy())

    def look(self) -> NDArray[np.uint8]:
        out = np.empty(self.shape.code_size, np.uint8)
        self._recall.look(out)
        return out.reshape(-1, 3)

    def read(self, text: NDArray[np.uint8], own: bool = False) -> NDArray[np.uint8]:
        out = np.empty((len(text), self.shape.code_size), np.uint8)
        self._recall.read(np.ascontiguousarray(text, np.uint8), own, out)
        return out.reshape(len(text), len(self.shape.contexts) + 1, 3)


def native_shape(shape: RecallShape) -> Any:
    """The engine's form of a shape."""
    sizes = (shape.slots.bit_length() - 1, shape.history.bit_length() - 1, shape.match)
    return native.RecallShape(list(shape.contexts), *sizes)
