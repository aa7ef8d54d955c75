"""What a teacher is: something that reads pieces of text and says, byte by byte, what it expected."""

import hashlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from cpu1.files import digest


@dataclass(frozen=True, eq=False)
class Piece:
    """Bytes to read, and which of them to predict; those before are context, those behind end a word."""

    text: NDArray[np.uint8]
    begin: int
    end: int


@dataclass(frozen=True, eq=False)
class Lesson:
    """What a teacher makes of the n = end - begin bytes of a piece."""

    probabilities: NDArray[np.float32]  # (n, 256); each row of sum 1
    ends: NDArray[np.int64]  # (T,) ascending: after which of the n bytes the hidden states are the teacher's
    hidden: NDArray[np.float32]  # (T, width)


class Teacher(Protocol):
    """NUL bytes separate documents, for every teacher."""

    identity: dict[str, Any]  # JSON: what decides its lessons, but for the pieces
    width: int  # of its hidden states
    window: int  # bytes of text that it can read at once

    def read(self, pieces: Sequence[Piece]) -> Iterator[tuple[int, Lesson]]:
        """A lesson for each piece, in any order: (index, lesson)."""
        ...


def batches(sizes: Sequence[int], most: int) -> Iterator[list[int]]:
    """Indices of like sizes together, longest first: padded, at most `most` units (one index at least)."""
    order = sorted(range(len(sizes)), key=lambda i: -sizes[i])
    while order:
        count = max(1, most // max(1, sizes[order[0]]))
        yield order[:count]
        order = order[count:]


def content(files: Iterable[Path]) -> str:
    """SHA-256 over the contents of files, in order; UserError when one cannot be read."""
    return hashlib.sha256(b"".join(map(digest, files))).hexdigest()
