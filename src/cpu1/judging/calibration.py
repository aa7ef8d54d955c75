"""What bits per byte mean for one model: their distribution over ordinary texts of each length.

A short text costs more bits a byte than a long one, because a model that has read little predicts little. So a figure
is compared with texts of the same length. A calibration holds quantiles of bits per byte at some lengths, measured on
text that the model has not been trained on, and is valid for one model file.

Shapes: L lengths, Q levels.
"""

import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cpu1.errors import UserError
from cpu1.files import write_json
from cpu1.judging.passages import WARM_UP, windows
from cpu1.judging.scoring import ByteProgress, bits_of_each
from cpu1.runtime.archive import fingerprint_of
from cpu1.runtime.model import Model

FORMAT = 1
SUFFIX = ".judge.json"  # of the calibration beside a model's file
SHIPPED = Path(__file__).parent / "calibrations"
LENGTHS = (50, 100, 200, 400, 800, 1600, 3200, 6400)  # bytes
LEVELS = (0.0, 1.0, 2.0, 5.0, 10.0, 25.0, 50.0, 75.0, 90.0, 95.0, 98.0, 99.0, 99.5, 99.9, 100.0)  # per cent
LEAST_TEXTS = 40
MOST_TEXTS = 400
MOST_BYTES = 1 << 20  # of a calibration's file


@dataclass(frozen=True)
class Calibration:
    """Quantiles of bits per byte of ordinary text."""

    model: str  # fingerprint of the model's file
    texts: int  # that were measured at the shortest length
    lengths: tuple[int, ...]  # (L,) bytes, rising
    bits: tuple[tuple[float, ...], ...]  # (L, Q) bits per byte at LEVELS, for texts of each length
    passages: tuple[float, ...]  # (Q,) the same for passages inside a text

    def percentile(self, bits_per_byte: float, length: int) -> float | None:
        """The share, in per cent, of ordinary texts of this length that cost fewer bits a byte.

        Rises with `bits_per_byte`. None for a text shorter than the shortest length that was measured.
        """
        if length < self.lengths[0]:
            return None
        at = np.interp(np.log2(length), np.log2(self.lengths), np.arange(len(self.lengths)))
        below = min(int(at), len(self.lengths) - 1)
        above = min(below + 1, len(self.lengths) - 1)
        table, share = np.array(self.bits), at - below
        return _level(bits_per_byte, (1 - share) * table[below] + share * table[above])

    def passage_percentile(self, bits_per_byte: float) -> float:
        """The share, in per cent, of passages of ordinary text that cost fewer bits a byte."""
        return _level(bits_per_byte, np.array(self.passages))

    def write(self, path: Path) -> None:
        """Writes it as JSON, atomically. UserError where it cannot be written."""
        write_json(path, {"format": FORMAT, "levels": LEVELS, **self.__dict__})

    @classmethod
    def read(cls, path: Path) -> "Calibration":
        """The calibration in a file. UserError for any other file."""
        try:
            if path.stat().st_size > MOST_BYTES:
                raise ValueError("too large")
            found = json.loads(path.read_text(encoding="utf-8"))
        except OSError as error:
            raise UserError(f"{path}: not readable ({error.strerror})") from None
        except (ValueError, RecursionError):
            raise UserError(f"{path}: no calibration; `cpu1 judge --calibrate TEXT` makes one") from None
        if not isinstance(found, dict) or not _is_valid(found):
            raise UserError(f"{path}: no calibration of this version; `cpu1 judge --calibrate TEXT` makes one")
        lengths, bits, passages = tuple(found["lengths"]), tuple(map(tuple, found["bits"])), tuple(found["passages"])
        return cls(found["model"], found["texts"], lengths, bits, passages)


def _level(value: float, quantiles: NDArray[np.float64]) -> float:
    return float(np.interp(value, quantiles, LEVELS))


def _is_valid(found: dict[str, Any]) -> bool:
    """Whether these are the fields of a calibration, with numbers that rise."""
    if found.get("format") != FORMAT or found.get("levels") != list(LEVELS):
        return False
    if not isinstance(found.get("model"), str) or type(found.get("texts")) is not int:
        return False
    try:
        lengths = np.array(found["lengths"], np.float64)
        bits, passages = np.array(found["bits"], np.float64), np.array(found["passages"], np.float64)
    except (KeyError, TypeError, ValueError):
        return False
    shapes = lengths.ndim == 1 and len(lengths) > 0 and bits.shape == (len(lengths), len(LEVELS))
    return bool(
        shapes
        and passages.shape == (len(LEVELS),)
        and all(np.isfinite(each).all() for each in (lengths, bits, passages))
        and lengths[0] >= 1
        and (np.diff(lengths) > 0).all()
        and (np.diff(bits, axis=1) > 0).all()
        and (np.diff(passages) > 0).all()
    )


def find(model: Model, path: Path | None = None) -> Calibration | None:
    """The calibration of a model: of `path`, else beside the model's file, else the one that comes with cpu1.

    None where there is none. UserError for a file that is no calibration, or one of another model.
    """
    fingerprint = fingerprint_of(model.path).hex()
    beside, shipped = beside_model(model.path), SHIPPED / f"{fingerprint}.json"
    for candidate in [path] if path else [beside, shipped]:
        if path or candidate.is_file():
            found = Calibration.read(candidate)
            if found.model == fingerprint:
                return found
            raise UserError(f"{candidate}: made for another model, {found.model}; {model.path} is {fingerprint}")
    return None


def beside_model(path: Path) -> Path:
    """Where the calibration of a model's file lies: mine.cpu1 has mine.judge.json."""
    return path.with_name(path.name.removesuffix(".cpu1") + SUFFIX)


def calibrate(
    model: Model, documents: Iterable[bytes], jobs: int = 1, progress: ByteProgress | None = None
) -> Calibration:
    """Measures a model on ordinary text that it has not been trained on.

    At most MOST_TEXTS texts are drawn from the documents, the same at each call. A text serves for all lengths, by its
    beginnings. UserError for documents that give fewer than LEAST_TEXTS texts.
    """
    texts = _draw(documents)
    if len(texts) < LEAST_TEXTS:
        raise UserError(
            f"the text gives {len(texts)} passages of {LENGTHS[0]} bytes or more, and a calibration needs "
            f"{LEAST_TEXTS}: name more text, about {LEAST_TEXTS * LENGTHS[-1] // 1000} KB of it or more"
        )
    scored = [bits for _, bits in bits_of_each(model, texts, jobs, progress)]
    lengths, rows = [], []
    for length in LENGTHS:
        means = [float(bits[:length].mean()) for bits in scored if len(bits) >= length]
        if len(means) >= LEAST_TEXTS:
            lengths.append(length)
            rows.append(_quantiles(np.array(means)))
    inside = np.concatenate([windows(bits)[WARM_UP::WARM_UP] for bits in scored])
    every = inside if len(inside) else np.concatenate([windows(bits) for bits in scored])
    fingerprint = fingerprint_of(model.path).hex()
    return Calibration(fingerprint, len(texts), tuple(lengths), tuple(rows), _quantiles(every))


def _quantiles(values: NDArray[np.float64]) -> tuple[float, ...]:
    """Quantiles at LEVELS, rounded, each a little above the one before, so that percentiles rise everywhere."""
    found: list[float] = []
    for value in np.percentile(values, LEVELS).tolist():
        found.append(round(max(value, found[-1] + 1e-4) if found else value, 4))
    return tuple(found)


def _draw(documents: Iterable[bytes]) -> list[bytes]:
    """MOST_TEXTS texts, drawn evenly from all that the documents can be cut into (reservoir sampling)."""
    random = np.random.default_rng(0)
    drawn: list[bytes] = []
    for number, text in enumerate(_texts(documents)):
        if len(drawn) < MOST_TEXTS:
            drawn.append(text)
        elif (place := int(random.integers(0, number + 1))) < MOST_TEXTS:
            drawn[place] = text
    return drawn


def _texts(documents: Iterable[bytes]) -> Iterator[bytes]:
    """Documents cut into texts of the longest length, each from the beginning of a line."""
    for document in documents:
        start = 0
        while len(document) - start >= LENGTHS[0]:
            yield document[start : start + LENGTHS[-1]]
            start += LENGTHS[-1]
            line = document.find(b"\n", start)
            start = line + 1 if 0 <= line < start + LENGTHS[-1] else start
