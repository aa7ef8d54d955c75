"""A split on disk: documents end to end in one stream with a separator after each, and the start of each.

Bytes have no value to spare for a separator: the stream has a NUL in its place, and `ends` says which NULs those are.
"""

import os
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

from cpu1.errors import UserError
from cpu1.records import Count

SPLITS = ("train", "valid", "test")


@dataclass(frozen=True)
class Counts:
    """How much a split holds."""

    documents: Count
    size: Count  # units, separators not counted


@dataclass(frozen=True, eq=False)
class Split:
    """Documents of bytes or tokens, memory-mapped; as a sequence it is that of its documents."""

    stream: NDArray[Any]  # units (size + documents,), read-only
    offsets: NDArray[np.int64]  # (documents + 1,); document i is stream[offsets[i] : offsets[i + 1] - 1]

    def __len__(self) -> int:
        return len(self.offsets) - 1

    def __iter__(self) -> Iterator[NDArray[Any]]:
        return (self.document(i) for i in range(len(self)))

    @property
    def size(self) -> int:
        """Units in all documents without the separators."""
        return len(self.stream) - len(self)

    @property
    def ends(self) -> NDArray[np.int64]:
        """The places of the separators (documents,)."""
        return np.asarray(self.offsets[1:] - 1)

    def document(self, i: int) -> NDArray[Any]:
        """The units of document `i` without its separator, as a view. IndexError beyond the last."""
        if not 0 <= i < len(self):
            raise IndexError(f"document {i} of {len(self)}")
        return self.stream[self.offsets[i] : self.offsets[i + 1] - 1]

    @classmethod
    def open(cls, folder: Path, name: str, dtype: DTypeLike, documents: int, size: int) -> "Split":
        """Maps what `write_split` wrote. UserError unless it has `documents` documents of `size` units in all."""
        try:
            stream = np.memmap(folder / f"{name}.bin", dtype=dtype, mode="r")
            offsets = np.lib.format.open_memmap(folder / f"{name}.offsets.npy", mode="r")
        except (OSError, ValueError) as error:
            raise UserError(f"{folder}: the {name} split is missing or damaged ({error})") from None
        whole = (
            offsets.dtype == np.int64
            and offsets.shape == (documents + 1,)
            and len(stream) == size + documents
            and offsets[0] == 0
            and offsets[-1] == len(stream)
            and bool(np.all(offsets[1:] > offsets[:-1]))
        )
        if not whole:
            raise UserError(f"{folder}: the {name} split does not match its description; prepare the text again")
        return cls(stream, offsets)


def open_splits(folder: Path, counts: Mapping[str, Counts], dtype: DTypeLike) -> dict[str, Split]:
    """All splits of a folder; UserError where one is missing or not what its counts say."""
    if missing := next((name for name in SPLITS if name not in counts), None):
        raise UserError(f"{folder}: the {missing} split is missing")
    return {name: Split.open(folder, name, dtype, counts[name].documents, counts[name].size) for name in SPLITS}


def write_split(folder: Path, name: str, documents: Iterable[NDArray[Any]], separator: int, dtype: DTypeLike) -> Counts:
    """Writes `NAME.bin` and `NAME.offsets.npy`; returns the counts that `Split.open` asks for."""
    ends = [0]
    end = np.array([separator], dtype)
    with open(folder / f"{name}.bin", "wb") as file:
        for document in documents:
            file.write(np.ascontiguousarray(document, dtype).data)
            file.write(end.data)
            ends.append(ends[-1] + len(document) + 1)
        _sync(file)
    with open(folder / f"{name}.offsets.npy", "wb") as file:
        np.save(file, np.array(ends, np.int64))
        _sync(file)
    count = len(ends) - 1
    return Counts(count, ends[-1] - count)


def _sync(file: Any) -> None:
    file.flush()
    os.fsync(file.fileno())
