"""A teacher's predictions of a training text, on disk, memory-mapped.

    cache.json           the teacher, the text, and how it was asked: see `Manifest`
    00000.safetensors    the first SHARD bytes of the training stream, and so on
        ids     U8 (N, k)         the likeliest bytes, likeliest first
        codes   U8 (N, k + 1)     their probabilities and that of all others, see `codes`
        ends    U8 (N)            1 at a byte after which the teacher's hidden state is kept
        hidden  I8 (T, 128)       these states, projected by a fixed random matrix; `ends` has T ones
        scales  F32 (T)           of each vector

Position i is byte i of the training split's stream, NUL bytes between documents included. Each shard names its
manifest, so that no shard of another cache is read, and is complete or absent. The numbers have no checksum.
"""

import hashlib
import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import Annotated, Any, Final, Literal

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open

from cpu1.data.corpus import Corpus
from cpu1.errors import UserError
from cpu1.files import spelled, write_atomic, write_json
from cpu1.format.container import Raw, write
from cpu1.records import Range, read
from cpu1.teachers.codes import decode

FORMAT: Final = 1
AGAIN = "make the cache again with `cpu1 teach`"
SHARD = 1 << 18  # bytes of text
HIDDEN = 128  # values kept of a hidden state
MOST_KEPT = 64  # likeliest bytes
Size = Annotated[int, Range(1)]


@dataclass(frozen=True)
class Manifest:
    """What a cache is of. Two caches with the same manifest hold the same."""

    teacher: dict[str, Any]
    corpus: str  # its name, for people
    sha256: str  # of the corpus
    units: Size  # bytes of the training stream
    top_k: int
    window: Size  # bytes that the teacher read at once
    shard: Size = SHARD
    format: Literal[1] = FORMAT

    def __post_init__(self) -> None:
        if not 1 <= self.top_k <= MOST_KEPT:
            raise UserError(f"top-k is {self.top_k}: keep 1 to {MOST_KEPT} bytes a position")

    @classmethod
    def read(cls, folder: Path) -> "Manifest":
        """UserError when there is none, or it is damaged or of another version."""
        return read(cls, folder / "cache.json", AGAIN)

    def write(self, folder: Path) -> None:
        """Writes the manifest, or finds it there; UserError when the folder holds a cache of something else."""
        if not (folder / "cache.json").exists():
            write_json(folder / "cache.json", asdict(self))
            return
        found, wanted = asdict(Manifest.read(folder)), asdict(self)
        if key := next((key for key in wanted if found[key] != wanted[key]), None):
            raise UserError(
                f"{folder}: holds a cache with {key} = {found[key]!r}, asked for is {wanted[key]!r}; "
                "choose another folder or remove this one"
            )

    @cached_property
    def key(self) -> str:
        """The hash by which shards name their manifest."""
        return hashlib.sha256(json.dumps(asdict(self), sort_keys=True).encode()).hexdigest()

    @property
    def shards(self) -> int:
        """The number of shards."""
        return -(-self.units // self.shard)

    def span(self, index: int) -> tuple[int, int]:
        """The bytes [start, stop) of a shard."""
        return index * self.shard, min((index + 1) * self.shard, self.units)


def shard_path(folder: Path, index: int) -> Path:
    """The file of a shard."""
    return folder / f"{index:05}.safetensors"


def write_shard(folder: Path, manifest: Manifest, index: int, tensors: dict[str, NDArray[Any]]) -> int:
    """Writes one shard atomically, its tensors by their names above; returns its size in bytes."""
    names = {np.dtype(np.uint8): "U8", np.dtype(np.int8): "I8", np.dtype(np.float32): "F32"}
    raw = {name: Raw(names[array.dtype], array.shape, array.tobytes()) for name, array in tensors.items()}
    data = write(raw, {"cache": manifest.key})
    write_atomic(shard_path(folder, index), data)
    return len(data)


def open_shard(folder: Path, manifest: Manifest, index: int) -> Any:
    """A memory-mapped shard. UserError when it is missing, cut short, damaged or of another cache."""
    path = shard_path(folder, index)
    remedy = "run `cpu1 teach` again to continue"
    if not path.exists():
        raise UserError(
            f"{folder}: shard {index + 1} of {manifest.shards} is missing, the cache is unfinished; {remedy}"
        )
    try:
        with spelled(path) as name:
            shard = safe_open(name, "numpy")
        pieces = {name: shard.get_slice(name) for name in shard.offset_keys()}
        shapes = {name: (piece.get_dtype(), tuple(piece.get_shape())) for name, piece in pieces.items()}
    except (SafetensorError, OSError) as error:
        raise UserError(f"{path}: damaged or cut short ({error}); remove it and {remedy}") from None
    if (shard.metadata() or {}).get("cache") != manifest.key:
        raise UserError(f"{path}: belongs to another cache; remove it and {remedy}")
    start, stop = manifest.span(index)
    size, k, count = stop - start, manifest.top_k, shapes.get("scales", ("", (0,)))[1][0]
    wanted = {
        "ids": ("U8", (size, k)),
        "codes": ("U8", (size, k + 1)),
        "ends": ("U8", (size,)),
        "hidden": ("I8", (count, HIDDEN)),
        "scales": ("F32", (count,)),
    }
    if shapes != wanted:
        raise UserError(f"{path}: damaged (it holds {shapes}); remove it and {remedy}")
    return shard


class Cache:
    """A finished cache, for training."""

    def __init__(self, folder: str | Path) -> None:
        """UserError for a folder that is not a whole cache of this version."""
        self.folder = Path(folder)
        self.manifest = Manifest.read(self.folder)
        self._shards = [open_shard(self.folder, self.manifest, i) for i in range(self.manifest.shards)]
        self._ends = [shard.get_slice("ends")[:] for shard in self._shards]
        for index, (shard, ends) in enumerate(zip(self._shards, self._ends, strict=True)):
            if ends.max(initial=0) > 1 or ends.sum() != shard.get_slice("scales").get_shape()[0]:
                raise UserError(f"{shard_path(self.folder, index)}: damaged; remove it and run `cpu1 teach` again")

    def check(self, corpus: Corpus) -> None:
        """UserError unless the cache is of this corpus's training stream."""
        units = len(corpus.splits["train"].stream)
        if (self.manifest.sha256, self.manifest.units) != (corpus.sha256, units):
            raise UserError(
                f"{self.folder}: the cache is of {self.manifest.corpus} ({self.manifest.units:,} bytes, "
                f"sha256 {self.manifest.sha256[:12]}), the training text is {corpus.name} ({units:,} bytes, "
                f"sha256 {corpus.sha256[:12]}); make one of this text with `cpu1 teach`"
            )

    def window(self, start: int, length: int) -> tuple[NDArray[np.uint8], NDArray[np.float32]]:
        """Of stream[start : start + length]: likeliest bytes (N, k), their probabilities and the rest (N, k + 1).

        Each row of probabilities sums to 1. IndexError beyond the stream.
        """
        spans = list(self._spans(start, length))
        ids, codes = (
            np.concatenate([self._shards[i].get_slice(name)[begin:end] for i, begin, end in spans])
            for name in ("ids", "codes")
        )
        return ids, decode(codes)

    def hidden(self, start: int, length: int, patch: int = 4) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
        """Of each patch of stream[start : start + length]: a vector (T, 128), and whether there is one (T,).

        It is the teacher's vector after its last token that ends in the patch. IndexError beyond the stream, ValueError
        unless `patch` divides `length`.
        """
        if length % patch:
            raise ValueError(f"{length} bytes are no whole number of patches of {patch}")
        vectors = np.zeros((length // patch, HIDDEN), np.float32)
        present = np.zeros(length // patch, bool)
        for i, begin, end in self._spans(start, length):
            ends = self._ends[i]
            first = int(np.count_nonzero(ends[:begin]))
            positions = np.flatnonzero(ends[begin:end]) + i * self.manifest.shard + begin - start
            rows = slice(first, first + len(positions))
            integers, scales = (self._shards[i].get_slice(name)[rows] for name in ("hidden", "scales"))
            patches = positions // patch
            last = np.append(patches[1:] != patches[:-1], True)[: len(patches)]
            vectors[patches[last]] = integers[last] * scales[last, None]
            present[patches[last]] = True
        return vectors, present

    def _spans(self, start: int, length: int) -> Iterator[tuple[int, int, int]]:
        """The parts of a window that lie in one shard: (shard, begin, end), positions within the shard."""
        stop = start + length
        if not (0 <= start < stop <= self.manifest.units):
            raise IndexError(f"bytes {start} to {stop} of {self.manifest.units}")
        for i in range(start // self.manifest.shard, -(-stop // self.manifest.shard)):
            first, last = self.manifest.span(i)
            yield i, max(start, first) - first, min(stop, last) - first
