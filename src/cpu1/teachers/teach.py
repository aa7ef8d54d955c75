"""Fills a cache with a teacher's lessons about a training text, by shards; a finished shard is kept."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cpu1.data.corpus import Corpus
from cpu1.data.split import Split
from cpu1.errors import UserError
from cpu1.files import locked
from cpu1.model.ingredients.distillation import fixed_projection
from cpu1.teachers.cache import HIDDEN, Manifest, open_shard, shard_path, write_shard
from cpu1.teachers.codes import encode, encode_vectors
from cpu1.teachers.pieces import cut
from cpu1.teachers.teacher import NUL, Teacher

LEAST_WINDOW = 64


@dataclass(frozen=True)
class Taught:
    """The outcome of a call of `teach`."""

    bytes: int  # of text that the teacher read in this call
    seconds: float
    size: int  # of the whole cache on disk, in bytes
    units: int  # of the whole text
    bpb: float | None  # the teacher's bits per byte of this call's text, before quantisation; None without any


TeachProgress = Callable[[int, int], None]  # bytes done, of how many


def teach(
    teacher: Teacher,
    corpus: Corpus,
    folder: Path,
    *,
    top_k: int,
    window: int,
    progress: TeachProgress = lambda *_: None,
) -> Taught:
    """Fills `folder` with the teacher's lessons about the training split; continues where an earlier call ended.

    `top_k` likeliest bytes are kept of each distribution. A window is shortened to the length that the teacher can
    read. UserError when the folder holds another cache or a damaged shard, cannot be written, or is being written by
    another process.
    """
    split = corpus.splits["train"]
    if corpus.byte_counts[NUL]:
        raise UserError(f"{corpus.name}: holds NUL bytes, which teachers take for ends of documents; leave them out")
    window = min(window, teacher.window)
    if window < LEAST_WINDOW:
        raise UserError(f"a window of {window} bytes is too short to learn anything from; take {LEAST_WINDOW} or more")
    units = len(split.stream)
    manifest = Manifest(teacher.identity, corpus.name, corpus.sha256, units, top_k, window)
    try:
        with locked(folder / ".lock", held=f"{folder}: another process is writing this cache"):
            return _fill(teacher, split, folder, manifest, progress)
    except OSError as error:
        raise UserError(f"{folder}: cannot be written ({error.strerror or error})") from None


def _fill(teacher: Teacher, split: Split, folder: Path, manifest: Manifest, progress: TeachProgress) -> Taught:
    manifest.write(folder)
    missing = []
    for index in range(manifest.shards):
        if shard_path(folder, index).exists():
            open_shard(folder, manifest, index)
        else:
            missing.append(index)
    left = sum(stop - start for start, stop in map(manifest.span, missing))
    done, nats, begun = 0, 0.0, time.perf_counter()
    projection = fixed_projection(teacher.width, HIDDEN).numpy()
    progress(manifest.units - left, manifest.units)
    for index in missing:
        shard = _Shard(*manifest.span(index), manifest.top_k)
        pieces = list(cut(split, shard.start, shard.stop, manifest.window))
        for i, lesson in teacher.read([piece for _, piece in pieces]):
            start, piece = pieces[i]
            expected = lesson.probabilities[np.arange(piece.end - piece.begin), piece.text[piece.begin : piece.end]]
            nats -= float(np.log(np.maximum(expected, 1e-30)).sum())
            shard.add(start, lesson.probabilities, lesson.ends, lesson.hidden @ projection)
            done += piece.end - piece.begin
            progress(manifest.units - left + done, manifest.units)
        write_shard(folder, manifest, index, shard.tensors())
    size = sum(shard_path(folder, index).stat().st_size for index in range(manifest.shards))
    bpb = nats / done / np.log(2) if done else None
    return Taught(done, time.perf_counter() - begun, size, manifest.units, bpb)


class _Shard:
    """Gathers the lessons about stream[start:stop], which may come in any order."""

    def __init__(self, start: int, stop: int, k: int) -> None:
        self.start, self.stop, self._k = start, stop, k
        self._ids = np.zeros((stop - start, k), np.uint8)
        self._codes = np.zeros((stop - start, k + 1), np.uint8)
        self._ends: list[NDArray[np.int64]] = []
        self._vectors: list[NDArray[np.float32]] = []

    def add(
        self, at: int, probabilities: NDArray[np.float32], ends: NDArray[np.int64], vectors: NDArray[np.float32]
    ) -> None:
        """Adds a lesson about the n bytes from `at` on: probabilities (n, 256), and the T vectors after `ends`."""
        first = at - self.start
        span = slice(first, first + len(probabilities))
        self._ids[span], self._codes[span] = encode(probabilities, self._k)
        self._ends.append(ends + first)
        self._vectors.append(vectors)

    def tensors(self) -> dict[str, NDArray[Any]]:
        """The tensors of the shard, see `cache`."""
        positions = np.concatenate(self._ends)
        order = np.argsort(positions)
        ends = np.zeros(self.stop - self.start, np.uint8)
        ends[positions] = 1
        hidden, scales = encode_vectors(np.concatenate(self._vectors)[order])
        return {"ids": self._ids, "codes": self._codes, "ends": ends, "hidden": hidden, "scales": scales}
