"""A stream cut for a teacher: whole documents, or windows that overlap, so that few bytes lack context.

A window is `window` bytes long. A document's first window is predicted whole; the first eighth of every other window is
context only. So a byte is predicted from at least an eighth of a window where its document has as much text before it,
and from a whole window at most. The grid of windows begins with the document, so it does not depend on which part of
the stream is cut.
"""

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from cpu1.data.split import Split
from cpu1.teachers.teacher import Piece

CONTEXT = 8  # one byte in CONTEXT of a window is context only
WORD = 64  # bytes by which a window's borders may move to a blank
BLANKS = np.isin(np.arange(256), list(b" \t\n\r\v\f"))


def cut(split: Split, start: int, stop: int, window: int) -> Iterator[tuple[int, Piece]]:
    """The pieces that predict stream[start:stop], each with the position in the stream of the first byte predicted."""
    context, end = window // CONTEXT, start
    document = int(np.searchsorted(split.offsets, start, "right")) - 1
    while end < stop:
        first, last = (int(offset) for offset in split.offsets[document : document + 2])
        read = end - first  # bytes of the document that earlier windows have predicted
        number = 0 if read < window else 1 + (read - window) // (window - context)
        after = first + window + number * (window - context)  # the window's end
        before = max(first, after - window)
        begin, end = end, min(after, last, stop)
        if before > first:
            before += _blank(split.stream[before : before + min(WORD, begin - before)])
        rest_of_word = 0 if end == last else _blank(split.stream[end : min(end + WORD, last - 1)], missing=WORD)
        text = np.asarray(split.stream[before : min(end + rest_of_word, last - (end < last))])
        yield begin, Piece(text, begin - before, end - before)
        document += end == last


def _blank(text: NDArray[np.uint8], missing: int = 0) -> int:
    """The position of the first blank, or `missing` without one."""
    blanks = np.flatnonzero(BLANKS[text])
    return int(blanks[0]) if len(blanks) else missing
