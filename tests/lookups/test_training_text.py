"""What windows of a training text look up: each document's own past, made once."""

from pathlib import Path

import numpy as np
import pytest

from cpu1.data.split import Split
from cpu1.lookups import readers, text
from cpu1.lookups.recall import RecallShape

SHAPE = RecallShape((2, 4, 9), 64, 256, 4)
DOCUMENTS = [b"one two one two one three " * 9, b"x", b"", b"two one two one! " * 20]


@pytest.fixture
def split() -> Split:
    stream = np.frombuffer(b"".join(document + b"\x00" for document in DOCUMENTS), np.uint8)
    return Split(stream, np.cumsum([0, *(len(document) + 1 for document in DOCUMENTS)]))


def wanted(split: Split, make) -> np.ndarray:
    ends = zip(split.offsets[:-1], split.offsets[1:], strict=True)
    return np.concatenate([make().read(split.stream[first:last]) for first, last in ends])


def test_codes_are_those_of_each_document(split: Split, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = wanted(split, lambda: readers.recall_reader(SHAPE))
    found = text.open_codes(split, SHAPE, tmp_path / "text")
    assert np.array_equal(found.whole(), whole)
    starts = np.array([0, 200, len(split.stream) - 64])
    assert np.array_equal(found.windows(starts, 64), np.stack([whole[s : s + 64] for s in starts]))
    monkeypatch.setattr(text, "write_codes", None)  # a second call reads
    assert np.array_equal(text.open_codes(split, SHAPE, tmp_path / "text").whole(), whole)


def test_codes_without_the_engine_are_the_same(split: Split, monkeypatch: pytest.MonkeyPatch) -> None:
    fast, plain = (np.empty((len(split.stream), SHAPE.code_size), np.uint8) for _ in range(2))
    text.write_codes(split, SHAPE, fast)
    monkeypatch.setattr(text, "native", None)
    monkeypatch.setattr(text, "recall_reader", readers.plain_recall_reader)
    text.write_codes(split, SHAPE, plain)
    assert np.array_equal(fast, plain)


def test_rows_of_windows_are_those_of_their_documents(split: Split) -> None:
    contexts, rows = (1, 3, 8, 9, 10), 256
    whole = wanted(split, lambda: readers.table_reader(contexts, rows))
    lookup = text.TableLookup(contexts, rows, split.stream, split.offsets)
    assert np.array_equal(lookup.whole(), whole)
    starts = np.array([0, 3, 100, 225, len(split.stream) - 64])  # the fourth holds three documents
    assert np.array_equal(lookup.windows(starts, 64), np.stack([whole[s : s + 64] for s in starts]))
