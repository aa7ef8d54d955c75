"""Intervals for bits per byte: a bootstrap over documents, with Student's t over seeds.

Two things make a figure uncertain: the choice of documents for evaluation, and the random numbers of training.

- *Documents* are resampled with replacement (Efron & Tibshirani, An Introduction to the Bootstrap, 1993,
  ch. 13). Their sizes differ, so the statistic is a ratio: total nats over total bytes. Every seed was
  scored on the same documents, so one draw of documents serves all of them, and both sides of a difference:
  the comparison is paired.
- *Seeds* come in threes. Resampling three numbers covers far too little (the percentile interval of three
  values spans at most their range, which holds the median 75% of the time). So the spread over seeds is modelled by
  Student's t with its few degrees of freedom: a random t is added to every draw of documents.

**What an interval from one seed does not cover:** that another seed would have trained to another loss. It covers only
other documents of the same kind. `Interval.seeds` distinguishes the two. No interval covers another corpus, another
budget, or documents that depend on each other. With fewer than about twenty documents the percentile bootstrap is
somewhat too narrow.

Shapes: S seeds, D documents, N draws.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

DRAWS = 2000
LEVEL = 0.95
Z = 1.959964  # of LEVEL, two-sided
BLOCK = 1 << 21  # resampled documents held in memory at a time

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Interval:
    """A value and its 95% interval. The bounds are None for a single document, which cannot be resampled.

    `seeds`: whether the interval covers the choice of the training seed; that takes two seeds or more on every side.
    """

    value: float
    low: float | None
    high: float | None
    seeds: bool

    def __format__(self, spec: str) -> str:
        """Like 1.234 [1.200, 1.300] for ".3f": each number as `spec` says, without bounds where there are none."""
        bounds = "" if self.low is None or self.high is None else f" [{self.low:{spec}}, {self.high:{spec}}]"
        return f"{self.value:{spec}}{bounds}"


def bpb_interval(nats: ArrayLike, bytes: ArrayLike, draws: int = DRAWS, seed: int = 0) -> Interval:
    """Bits per byte of one run, or the mean over several seeds of it, with its interval.

    nats: (D,) or (S, D), the loss of each document; bytes: (D,). ValueError when the shapes do not fit.
    The same arguments give the same interval.
    """
    nats_SD, bytes_D = as_seeds(nats, bytes)
    return interval(nats_SD.mean(0), bytes_D, [seed_bpb(nats_SD, bytes_D)], draws, seed)


def difference(
    child: ArrayLike, parent: ArrayLike, bytes: ArrayLike, draws: int = DRAWS, seed: int = 0, paired: bool = False
) -> Interval:
    """BPB of the child less BPB of the parent (negative: the child is better), paired by document.

    child, parent: (D,) or (S, D) (their numbers of seeds may differ); bytes: (D,), the same documents for both.
    Seeds are taken as independent between child and parent, as their parameters are drawn separately (Welch);
    `paired`: row s of both has the same seed, and so the same order of text, and Student's t is over the S
    differences. With a single seed on either side the interval covers the documents alone. ValueError when shapes
    do not fit.
    """
    child_SD, bytes_D = as_seeds(child, bytes)
    parent_SD, _ = as_seeds(parent, bytes)
    if paired and len(child_SD) != len(parent_SD):
        raise ValueError(f"{len(child_SD)} and {len(parent_SD)} seeds are no pairs")
    sides = [child_SD - parent_SD] if paired else [child_SD, parent_SD]
    sides = [seed_bpb(side, bytes_D) for side in sides]
    return interval(child_SD.mean(0) - parent_SD.mean(0), bytes_D, sides, draws, seed)


def share_interval(count: int, total: int) -> tuple[float, float]:
    """Wilson's 95% interval (1927) of a share of independent trials. ValueError without a trial."""
    if not 0 <= count <= total or total < 1:
        raise ValueError(f"{count} of {total} is no share")
    z2 = Z**2
    centre = (count + z2 / 2) / (total + z2)
    half = Z * math.sqrt(count * (total - count) / total + z2 / 4) / (total + z2)
    return max(0.0, centre - half), min(1.0, centre + half)


def interval(nats_D: Array, bytes_D: Array, sides: Sequence[Array], draws: int, seed: int) -> Interval:
    """The interval of sum(nats) / sum(bytes) in bits, from nats (D,) and bytes (D,); `sides` holds BPB by seed (S,)."""
    value = float(nats_D.sum() / bytes_D.sum() / math.log(2))
    covers_seeds = all(len(side) > 1 for side in sides)
    if len(bytes_D) < 2:
        return Interval(value, None, None, covers_seeds)
    random = np.random.default_rng(seed)
    draws_N = resample(nats_D, bytes_D, draws, random)
    if covers_seeds:
        draws_N = draws_N + seed_noise(sides, draws, random)
    low, high = np.quantile(draws_N, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return Interval(value, float(low), float(high), covers_seeds)


def resample(nats_D: Array, bytes_D: Array, draws: int, random: np.random.Generator) -> Array:
    """Bits per byte (N,) of N = `draws` resamples of the documents."""
    count = len(bytes_D)
    rows = max(1, BLOCK // count)
    blocks = []
    for start in range(0, draws, rows):
        picks = random.integers(0, count, (min(rows, draws - start), count))
        blocks.append(nats_D[picks].sum(1) / bytes_D[picks].sum(1))
    return np.concatenate(blocks) / math.log(2)


def seed_noise(sides: Sequence[Array], draws: int, random: np.random.Generator) -> Array:
    """Errors (N,) of means over few seeds: scaled t with Welch and Satterthwaite's degrees of freedom."""
    squares = [float(side.var(ddof=1)) / len(side) for side in sides]
    total = sum(squares)
    if total == 0:
        return np.zeros(draws)
    parts = sum(square**2 / (len(side) - 1) for square, side in zip(squares, sides, strict=True))
    return math.sqrt(total) * random.standard_t(total**2 / parts, draws)


def seed_bpb(nats_SD: Array, bytes_D: Array) -> Array:
    """Bits per byte (S,) of each seed."""
    return nats_SD.sum(1) / bytes_D.sum() / math.log(2)


def as_seeds(nats: ArrayLike, bytes: ArrayLike) -> tuple[Array, Array]:
    """Nats as (S, D) and bytes as (D,). ValueError when the shapes do not fit or a document is empty."""
    nats_SD, bytes_D = np.atleast_2d(np.asarray(nats, np.float64)), np.asarray(bytes, np.float64)
    if bytes_D.ndim != 1 or not len(bytes_D) or nats_SD.shape[1:] != bytes_D.shape or not len(nats_SD):
        raise ValueError(f"nats {np.shape(nats)} and bytes {np.shape(bytes)} are no [S, D] and [D]")
    if bytes_D.min() <= 0:
        raise ValueError("every document needs at least one byte")
    return nats_SD, bytes_D
