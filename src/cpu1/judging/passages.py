"""The passages of a text that a model predicts worst.

Shapes: N bytes of a text.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

PASSAGE = 64  # bytes
WARM_UP = 32  # bytes at the start of a text, of which a model knows too little to be trusted
SNAP = 12  # bytes by which a passage may grow to whole words
AROUND = 24  # bytes of text shown before and after a passage


class Passage(NamedTuple):
    """A passage text[start:end], bounds in bytes."""

    start: int
    end: int
    bits_per_byte: float
    percentile: float | None  # among passages of ordinary text; None without a calibration


def windows(bits: NDArray[np.float64]) -> NDArray[np.float64]:
    """Bits per byte of the passage that begins at each byte (N - PASSAGE + 1,); of the whole where that is shorter.

    The first bytes of a text surprise any model, so they weigh less.
    """
    weighed = bits.copy()
    head = min(WARM_UP, len(bits))
    weighed[:head] *= np.arange(1, head + 1) / WARM_UP
    size = min(PASSAGE, len(bits))
    sums = np.concatenate([[0.0], np.cumsum(weighed)])
    return (sums[size:] - sums[:-size]) / size


def worst(text: bytes, bits: NDArray[np.float64], most: int) -> list[Passage]:
    """At most `most` passages that do not overlap, worst first, without percentiles; `bits` (N,) are of each byte."""
    if not len(bits) or most < 1:
        return []
    costs = windows(bits)
    size = min(PASSAGE, len(bits))
    found: list[Passage] = []
    while len(found) < most and np.isfinite(costs).any():
        start = int(np.nanargmax(costs))
        begin, end = _to_words(text, start, start + size)
        found.append(Passage(begin, end, float(costs[start]), None))
        costs[max(0, begin - size + 1) : end] = np.nan
    return found


def _to_words(text: bytes, start: int, end: int) -> tuple[int, int]:
    """Bounds moved outwards to the ends of words where those are near."""
    before = max(text.rfind(blank, max(0, start - SNAP), start + 1) for blank in (b" ", b"\n", b"\t"))
    if start < SNAP:
        start = 0
    elif before >= 0:
        start = before + 1
    after = [at for blank in (b" ", b"\n", b"\t") if (at := text.find(blank, end, end + SNAP)) >= 0]
    return start, min(after, default=len(text) if len(text) - end < SNAP else end)


def excerpt(text: bytes, passage: Passage, marks: tuple[str, str] = ("[[", "]]")) -> str:
    """The passage between marks with a little text around it, in one line that can be printed."""
    first, last = max(0, passage.start - AROUND), min(len(text), passage.end + AROUND)
    before, inside, after = (
        printable(text[a:b]) for a, b in ((first, passage.start), (passage.start, passage.end), (passage.end, last))
    )
    return f"{'...' if first else ''}{before}{marks[0]}{inside}{marks[1]}{after}{'...' if last < len(text) else ''}"


def printable(data: bytes) -> str:
    """Bytes as one line: every run of white space is a blank, and what cannot be shown becomes U+FFFD."""
    text = data.decode(errors="replace")
    shown = "".join(char if char.isprintable() else " " if char.isspace() else "\ufffd" for char in text)
    ends = shown[:1] == " ", shown[-1:] == " "
    return (" " * ends[0] + " ".join(shown.split()) + " " * ends[1]) if shown.strip() else " " * bool(shown)
