"""The protocol of a teacher: it reads pieces of text and predicts every byte of them."""

import hashlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from cpu1.files import digest

NUL = 0  # the end of a document, to every teacher


@dataclass(frozen=True, eq=False)
class Piece:
    """Bytes to read, of which text[begin:end] are predicted; those before are context, those after end a word."""

    text: NDArray[np.uint8]
    begin: int
    end: int


@dataclass(frozen=True, eq=False)
class Lesson:
    """A teacher's predictions of the n = end - begin bytes of a piece, and its T hidden states."""

    probabilities: NDArray[np.float32]  # (n, 256); each row sums to 1
    ends: NDArray[np.int64]  # (T,) ascending: the byte after which the teacher has each hidden state
    hidden: NDArray[np.float32]  # (T, width)


class Teacher(Protocol):
    """A model that predicts bytes. For every teacher NUL stands for the end of a document: no text taught holds one."""

    identity: dict[str, Any]  # JSON: all that its lessons depend on besides the pieces
    width: int  # of its hidden states
    window: int  # bytes of text that it can read at once

    def read(self, pieces: Sequence[Piece]) -> Iterator[tuple[int, Lesson]]:
        """A lesson for each piece, in any order: (index, lesson)."""
        ...


def batches(sizes: Sequence[int], most: int) -> Iterator[list[int]]:
    """Batches of the indices of `sizes`, longest first: padded, each has at most `most` units, or a single index."""
    order = sorted(range(len(sizes)), key=lambda i: -sizes[i])
    while order:
        count = max(1, most // max(1, sizes[order[0]]))
        yield order[:count]
        order = order[count:]


def content(files: Iterable[Path]) -> str:
    """SHA-256 (hex) over the contents of files, in order. UserError when one cannot be read."""
    return hashlib.sha256(b"".join(map(digest, files))).hexdigest()
