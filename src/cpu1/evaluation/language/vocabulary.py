"""Does a model write words? The share of the words it writes that occur in its training text.

A word is a run of letters, with apostrophes inside; case is ignored. Samples of a kibibyte are drawn, each from the
start of a document and with a seed of its own. Training windows begin anywhere, so a sample may begin inside a word,
and it ends inside one. So the text before its first blank and after its last does not count.

Compare with the share of held-out text: new names and rare words keep it below one. A model that knew only a few words
would reach one, so the share alone does not measure the quality of a text.
"""

import math
import re
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from cpu1.errors import UserError
from cpu1.evaluation.language.work import CheckProgress, in_blocks
from cpu1.evaluation.statistics import bpb_interval
from cpu1.runtime.model import Model
from cpu1.runtime.sampling import Sampling

WORD = re.compile(r"[^\W\d_]+(?:'[^\W\d_]+)*")
SAMPLE_BYTES = 1024
SHOWN = 20  # words not in the training text


def words(text: bytes) -> list[str]:
    """The words of a text in lower case; bytes that are not UTF-8 separate words."""
    return WORD.findall(text.decode("utf-8", "replace").replace("\u2019", "'").casefold())


def vocabulary(texts: Iterable[bytes]) -> frozenset[str]:
    """The words that occur in `texts`. UserError where there are none."""
    known: set[str] = set()
    for text in texts:
        known.update(words(text))
    if not known:
        raise UserError("the training text holds no word")
    return frozenset(known)


def check(
    model: Model,
    known: frozenset[str],
    size: int,
    temperature: float,
    seed: int = 0,
    threads: int = 1,
    progress: CheckProgress | None = None,
) -> dict[str, Any]:
    """The share of known words in `size` bytes of samples, its bootstrap interval over samples, and unknown words.

    The share is None where no word was written. UserError for temperature 0, at which all samples are the same.
    """
    if temperature == 0:
        raise UserError("at temperature 0 all samples are the same text; give one above 0")
    seeds = range(seed, seed + max(1, round(size / SAMPLE_BYTES)))

    def write(block: Sequence[int]) -> list[list[str]]:
        return [words(_inside(_sample(model, Sampling(temperature, seed=number)))) for number in block]

    samples = list(in_blocks(write, seeds, threads, progress, size=4))
    unknown = Counter(word for sample in samples for word in sample if word not in known)
    counted = [(sum(word in known for word in sample), len(sample)) for sample in samples if sample]
    total = sum(count for _, count in counted)
    return {
        "share": (total - unknown.total()) / total if total else None,
        "interval": _interval(counted),
        "words": total,
        "different_words": len({word for sample in samples for word in sample}),
        "unknown": [word for word, _ in unknown.most_common(SHOWN)],
        "bytes": len(seeds) * SAMPLE_BYTES,
        "samples": len(seeds),
        "temperature": temperature,
        "seed": seed,
        "training_words": len(known),
    }


def share_of_text(known: frozenset[str], texts: Iterable[bytes]) -> dict[str, Any]:
    """The share of known words among all words of `texts`. UserError where there are none."""
    right = total = 0
    for text in texts:
        written = words(text)
        total += len(written)
        right += sum(word in known for word in written)
    if not total:
        raise UserError("the held-out text holds no word")
    return {"share": right / total, "words": total}


def _sample(model: Model, sampling: Sampling) -> bytes:
    return b"".join(model.chunks(b"", SAMPLE_BYTES, sampling, may_end=False))


def _inside(sample: bytes) -> bytes:
    """The text between the first and the last blank."""
    inside = re.fullmatch(rb"\S*(\s.*\s|)\S*", sample, re.DOTALL)
    return inside[1] if inside else b""


def _interval(counted: Sequence[tuple[int, int]]) -> list[float | None]:
    """The interval of known words over words: that of bits per byte, where each known word is ln 2 nats."""
    if not counted:
        return [None, None]
    known, all_words = np.array(counted, np.float64).T
    interval = bpb_interval(known * math.log(2), all_words)
    return [interval.low, interval.high]
