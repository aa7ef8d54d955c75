"""Bits per byte of the texts of Arrow tables, by a model that is loaded once.

A scorer travels to where it works: with the bytes of the packed model, so that every machine has the same one.

Shapes: R rows of a table.
"""

import tempfile
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cpu1.errors import UserError
from cpu1.judging.readers import record_of
from cpu1.judging.scoring import bits_of_each
from cpu1.runtime.default import default_model
from cpu1.runtime.model import Model

BITS, BYTES, BUCKET, ERROR = "bits_per_byte", "bytes", "bucket", "error"  # columns that are added
LINE = "line"  # of JSON lines


def packed_bytes(model: str | Path | None = None) -> bytes:
    """The content of a packed model, or of the default one. UserError for a file that is no model."""
    return Path(Model(model or default_model()).path).read_bytes()


class Scorer:
    """Adds to the rows of a table the bits per byte and the bytes of their text."""

    def __init__(self, packed: bytes, field: str = "text") -> None:
        self.field = field
        self._place = tempfile.TemporaryDirectory(prefix="cpu1-")
        path = Path(self._place.name) / "model.cpu1"
        path.write_bytes(packed)
        self.model = Model(path)

    def figures(self, texts: Iterable[bytes]) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
        """Bits per byte (R,), NaN for an empty text, and bytes (R,)."""
        found = [(bits.mean() if len(text) else np.nan, len(text)) for text, bits in bits_of_each(self.model, texts)]
        bits, sizes = zip(*found, strict=True) if found else ((), ())
        return np.array(bits, np.float64), np.array(sizes, np.int64)

    def __call__(self, table: Any) -> Any:
        """A pyarrow table (R) with the columns bits_per_byte, null where there is no text, and bytes."""
        import pyarrow

        texts = table.column(self.field).cast(pyarrow.large_binary()).to_pylist()
        return _with_figures(table, *self.figures(text or b"" for text in texts))


class LineScorer(Scorer):
    """The same for a table whose one column holds lines of JSON; it becomes `line`."""

    def __call__(self, table: Any) -> Any:
        """The lines with the columns bits_per_byte, bytes, and error for what is no record with a text."""
        import pyarrow

        lines = table.column(0).to_pylist()
        records = [record_of(0, line.encode("utf-8", "surrogatepass"), self.field) for line in lines]
        found = _with_figures(pyarrow.table({LINE: lines}), *self.figures(record.text for record in records))
        return found.append_column(ERROR, pyarrow.array([record.error for record in records], pyarrow.string()))


def _with_figures(table: Any, bits: NDArray[np.float64], sizes: NDArray[np.int64]) -> Any:
    import pyarrow

    with_bits = table.append_column(BITS, pyarrow.array(bits, from_pandas=True))  # NaN becomes null
    return with_bits.append_column(BYTES, pyarrow.array(sizes))


def check_columns(names: Iterable[str], field: str) -> None:
    """UserError where there is no text in a column `field`, or one of the columns that would be added."""
    there = list(names)
    if field not in there:
        raise UserError(f"no column {field!r}; there are: {', '.join(there[:20]) or 'none'}")
    for name in (BITS, BYTES, BUCKET):
        if name in there:
            raise UserError(f"column {name!r} is there already, and would be lost: rename it first")
