"""The generation test: is a sample printable, without loops, and as varied as the corpus?

The original's card names the test and prints its verdict without defining it. The three measures here are this
project's. PASS means that a sample is not broken, not that it is good.
"""

import codecs
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from cpu1.errors import UserError

MIN_LENGTH = 64  # bytes; in fewer, a loop or an entropy may be chance

# A loop is a sample of whose second half three quarters repeat the bytes one period before. Of windows of Python's
# documentation and sources (128 to 512 bytes) 0.4% to 3% reach that, nearly all of them tables and ruled lines; the
# median is 0.15 to 0.25. A true loop that begins before 5/8 of the sample scores above it.
MAX_LOOP = 0.75
MAX_PERIOD = 128

# The entropies of windows of those corpora have a standard deviation of 0.4 to 0.6 bits, mostly because of tables and
# code. 3 sd exclude 1% to 4% of the windows; random printable ASCII lies 2 bits above them. Within one chapter of prose
# the sd is 0.1, and 3 sd would fail good text for tiny differences: hence the least tolerance.
TOLERANCE_SD = 3
MIN_TOLERANCE = 0.5


@dataclass(frozen=True)
class Verdict:
    """The result of the test.

    utf8: valid UTF-8, except for a character cut at the very end
    printable: utf8, and no control character except tab, line feed and carriage return
    loop: share of the sample's second half that repeats the bytes one period before, 0 to 1
    entropy, corpus_entropy: of the order-0 byte frequencies, in bits; the corpus's at the sample's length
    tolerance: by how many bits the two may differ
    reasons: why it failed; empty when it passed
    """

    verdict: Literal["PASS", "FAIL"]
    utf8: bool
    printable: bool
    loop: float
    entropy: float
    corpus_entropy: float
    tolerance: float
    reasons: tuple[str, ...]

    def __str__(self) -> str:
        line = (
            f"{self.verdict} · {'printable' if self.printable else 'not printable'} · loop {self.loop:.2f}"
            f" · entropy {self.entropy:.2f} bits (corpus {self.corpus_entropy:.2f} ± {self.tolerance:.2f})"
        )
        return line + "".join(f" · {reason}" for reason in self.reasons)


def judge(sample: bytes, texts: Sequence[NDArray[np.uint8]]) -> Verdict:
    """Checks a sample against windows of its own length from `texts`, the corpus's documents.

    Raises UserError when the corpus is shorter than the sample.
    """
    length = max(len(sample), MIN_LENGTH)
    return check(sample, *reference_entropy(texts, length))


def check(sample: bytes, corpus_entropy: float, corpus_sd: float = 0.0) -> Verdict:
    """Checks a sample.

    `corpus_entropy` and `corpus_sd` come from `reference_entropy` at the length of the checked text. ValueError for
    those outside 0 to 8 bits.
    """
    if not (0 <= corpus_entropy <= 8 and 0 <= corpus_sd <= 8):
        raise ValueError(f"byte entropies are 0 to 8 bits, not {corpus_entropy} ± {corpus_sd}")
    values = np.frombuffer(sample, np.uint8)
    encoding = _encoding_faults(sample)
    controls = _control_faults(sample)
    loop, entropy = loop_share(values), byte_entropy(values)
    tolerance = max(MIN_TOLERANCE, TOLERANCE_SD * corpus_sd)

    reasons = encoding + controls
    if len(sample) < MIN_LENGTH:
        reasons.append(f"{len(sample)} bytes, fewer than {MIN_LENGTH}")
    if loop >= MAX_LOOP:
        reasons.append(f"a loop: {loop:.0%} of its second half repeats")
    if abs(entropy - corpus_entropy) > tolerance:
        reasons.append(f"byte entropy too {'low' if entropy < corpus_entropy else 'high'}")
    return Verdict(
        verdict="FAIL" if reasons else "PASS",
        utf8=not encoding,
        printable=not encoding and not controls,
        loop=loop,
        entropy=entropy,
        corpus_entropy=corpus_entropy,
        tolerance=tolerance,
        reasons=tuple(reasons),
    )


def loop_share(values: NDArray[np.uint8]) -> float:
    """Returns the share of the second half of `values` (n,) that repeats the bytes one period before.

    The period is the one with the largest share, of at most 128 bytes and a quarter of the sample, so that a loop
    repeats at least four times. Only the second half counts, because a model stays in a loop once it has begun.
    """
    half = len(values) // 2
    periods = range(1, min(len(values) // 4, MAX_PERIOD) + 1)
    shares = (np.mean(values[half:] == values[half - period : -period]) for period in periods)
    return float(max(shares, default=0.0))


def byte_entropy(values: NDArray[np.uint8]) -> float:
    """Returns the entropy of the byte frequencies of `values` (n,), in bits; 0 when empty.

    It is biased low by about (different bytes - 1) / (2 n ln 2) bits (Miller 1955): compare equal lengths only.
    """
    counts = np.bincount(values, minlength=256)
    shares = counts[counts > 0] / max(len(values), 1)
    return float(np.abs(np.sum(shares * np.log2(shares))))


def reference_entropy(
    texts: Sequence[NDArray[np.uint8]], length: int, draws: int = 256, seed: int = 0
) -> tuple[float, float]:
    """Returns mean and standard deviation of `byte_entropy` over `draws` random windows of `length` bytes.

    A window may run over the end of a document into the next one; no document need be that long.
    Raises UserError when all together are shorter than one window.
    """
    ends = np.cumsum([len(text) for text in texts], dtype=np.int64)
    total = int(ends[-1]) if len(ends) else 0
    if total < length:
        raise UserError(
            f"the corpus holds {total} bytes, fewer than the {length} of a sample; "
            "give more text or generate a shorter sample"
        )
    starts = np.random.default_rng(seed).integers(0, total - length, size=draws, endpoint=True)
    entropies = [byte_entropy(_window(texts, ends, int(start), length)) for start in starts]
    return float(np.mean(entropies)), float(np.std(entropies))


def _window(texts: Sequence[NDArray[np.uint8]], ends: NDArray[np.int64], start: int, length: int) -> NDArray[np.uint8]:
    """Returns bytes start to start + length of the texts laid end to end, without joining all of them."""
    at = int(np.searchsorted(ends, start, side="right"))
    start -= int(ends[at]) - len(texts[at])
    pieces = []
    while length:
        pieces.append(texts[at][start : start + length])
        length -= len(pieces[-1])
        at, start = at + 1, 0
    return np.concatenate(pieces)


def _encoding_faults(text: bytes) -> list[str]:
    """A sample may end inside a character."""
    try:
        codecs.getincrementaldecoder("utf-8")().decode(text)
    except UnicodeDecodeError as error:
        return [f"no UTF-8 at byte {error.start} (0x{text[error.start]:02x})"]
    return []


def _control_faults(text: bytes) -> list[str]:
    controls = [c for c in text.decode(errors="ignore") if unicodedata.category(c) == "Cc" and c not in "\t\n\r"]
    return [f"{len(controls)} control characters, the first U+{ord(controls[0]):04X}"] if controls else []
