"""Judges texts by a packed model: bits per byte, what that means, and where a text is at its worst.

from cpu1.judging.judge import better, judge

found = judge("Tbe qnick hrown fox jumqed ovcr thc lazy dog, and tben it ran avvay into tbe forcst.")
print(found.verdict, found.percentile, found.passages[0])
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from cpu1.errors import UserError
from cpu1.judging.calibration import Calibration, find
from cpu1.judging.passages import Passage, excerpt, worst
from cpu1.judging.scoring import ByteProgress, bits_of_each
from cpu1.runtime.default import default_model
from cpu1.runtime.model import Model
from cpu1.runtime.text import as_bytes

PREDICTABLE, UNUSUAL, SUSPECT = 1.0, 95.0, 99.0  # percentiles that part the verdicts
WORST = 3  # passages


@dataclass(frozen=True)
class Judgement:
    """What a model makes of a text."""

    text: bytes
    bits: float  # of the whole text
    percentile: float | None  # of ordinary texts of this length that cost fewer bits a byte, in per cent
    calibrated: bool  # whether there was a calibration; a text may be too short for it
    passages: tuple[Passage, ...]  # worst first

    @property
    def bits_per_byte(self) -> float:
        """0 for an empty text."""
        return self.bits / len(self.text) if self.text else 0.0

    @property
    def verdict(self) -> str:
        """One word or two: predictable, ordinary, unusual, suspect; empty, too short, not calibrated."""
        if not self.text:
            return "empty"
        if self.percentile is None:
            return "too short" if self.calibrated else "not calibrated"
        if self.percentile < PREDICTABLE:
            return "predictable"
        return "ordinary" if self.percentile < UNUSUAL else "unusual" if self.percentile < SUSPECT else "suspect"

    def to_json(self) -> dict[str, Any]:
        """Figures and passages, without the text."""
        return {
            "bytes": len(self.text),
            "bits_per_byte": round(self.bits_per_byte, 4),
            "percentile": None if self.percentile is None else round(self.percentile, 2),
            "verdict": self.verdict,
            "passages": [
                {
                    "start": each.start,
                    "end": each.end,
                    "bits_per_byte": round(each.bits_per_byte, 4),
                    "percentile": None if each.percentile is None else round(each.percentile, 2),
                    "excerpt": excerpt(self.text, each),
                }
                for each in self.passages
            ],
        }


class Choice(NamedTuple):
    """The better of two readings of one text."""

    better: int | None  # 0 or 1; None where they are alike
    bits_per_byte: float  # by which it is the better one
    readings: tuple[Judgement, Judgement]


class Judge:
    """A model with its calibration. One serves any number of texts."""

    def __init__(self, model: Model | str | Path | None = None, calibration: str | Path | None = None) -> None:
        """`model`: one that is loaded, its file, or None for the default one. `calibration`: see `calibration.find`.

        Raises UserError for files that are not valid, and for a calibration of another model.
        """
        self.model = model if isinstance(model, Model) else Model(model or default_model())
        self.calibration = find(self.model, Path(calibration) if calibration else None)

    def each(
        self, texts: Iterable[bytes], jobs: int = 1, most: int = WORST, progress: ByteProgress | None = None
    ) -> Iterator[Judgement]:
        """A judgement of each text, in order, `jobs` of them at work at once, with at most `most` passages."""
        for text, bits in bits_of_each(self.model, texts, jobs, progress):
            yield _judgement(text, bits, self.calibration, most)

    def better(self, first: str | bytes, second: str | bytes, jobs: int = 1, most: int = WORST) -> Choice:
        """Which of two readings of the same text costs fewer bits a byte."""
        one, two = self.each([as_bytes(first), as_bytes(second)], jobs, most)
        for name, each in ("first", one), ("second", two):
            if not each.text:
                raise UserError(f"the {name} reading is empty: there is nothing to compare")
        gap = one.bits_per_byte - two.bits_per_byte
        return Choice(None if gap == 0 else int(gap > 0), abs(gap), (one, two))


def _judgement(text: bytes, bits: NDArray[np.float64], calibration: Calibration | None, most: int) -> Judgement:
    """Of a long text the passages that are usual in ordinary text are left out."""
    total = float(bits.sum())
    passages = worst(text, bits, most)
    if calibration is None or not text:
        return Judgement(text, total, None, calibration is not None, tuple(passages))
    rated = [each._replace(percentile=calibration.passage_percentile(each.bits_per_byte)) for each in passages]
    unusual = tuple(each for each in rated if each.percentile is not None and each.percentile >= SUSPECT)
    return Judgement(text, total, calibration.percentile(total / len(text), len(text)), True, unusual)


def judge(
    text: str | bytes | list[str] | list[bytes],
    model: Model | str | Path | None = None,
    *,
    calibration: str | Path | None = None,
    jobs: int = 1,
    most: int = WORST,
) -> Judgement | list[Judgement]:
    """What a model makes of a text, or of each text of a list, `jobs` of them at work at once.

    `most`: passages of each. Raises UserError for what is neither text nor bytes, and as `Judge`.
    """
    many = isinstance(text, list)
    texts = [as_bytes(each) for each in text] if isinstance(text, list) else [as_bytes(text)]
    found = list(Judge(model, calibration).each(texts, jobs, most))
    return found if many else found[0]


def better(
    first: str | bytes,
    second: str | bytes,
    model: Model | str | Path | None = None,
    *,
    calibration: str | Path | None = None,
    jobs: int = 1,
) -> Choice:
    """Which of two readings of the same text is the better one, see `Judge.better`."""
    return Judge(model, calibration).better(first, second, jobs)
