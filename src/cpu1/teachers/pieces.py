"""How a stream is cut for a teacher: whole documents, or windows that overlap, so that few bytes lack context.

A window is `window` bytes long. The first of a document is predicted whole, of every other the first eighth is
context only. So a byte is predicted from at least an eighth of a window where its document has as much before it,
and from a whole window at most. The grid of a document's windows begins with it: what is asked for changes nothing.
"""

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from cpu1.data.split import Split
from cpu1.teachers.teacher import Piece

CONTEXT = 8  # the part of a window that is context only: one in so many
WORD = 64  # bytes within which a window's borders are moved to a blank
BLANKS = np.isin(np.arange(256), list(b" \t\n\r\v\f"))


def cut(split: Split, start: int, stop: int, window: int) -> Iterator[tuple[int, Piece]]:
    """The pieces that predict stream[start:stop], with the place in the stream of each one's first such byte."""
    context, end = window // CONTEXT, start
    document = int(np.searchsorted(split.offsets, start, "right")) - 1
    while end < stop:
        first, last = (int(offset) for offset in split.offsets[document : document + 2])
        place = end - first
        number = 0 if place < window else 1 + (place - window) // (window - context)
        after = first + window + number * (window - context)  # the window's end
        before = max(first, after - window)
        begin, end = end, min(after, last, stop)
        if before > first:
            before += _blank(split.stream[before : before + min(WORD, begin - before)])
        ahead = 0 if end == last else _blank(split.stream[end : min(end + WORD, last - 1)], missing=WORD)
        text = np.asarray(split.stream[before : min(end + ahead, last - (end < last))])
        yield begin, Piece(text, begin - before, end - before)
        document += end == last


def _blank(text: NDArray[np.uint8], missing: int = 0) -> int:
    """Where the first blank stands."""
    found = np.flatnonzero(BLANKS[text])
    return int(found[0]) if len(found) else missing
