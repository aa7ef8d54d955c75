"""Bits of each byte of many documents, several at once.

Every document is read alone, from its beginning, so no figure depends on what is read beside it. A model already shares
each reading of its weights among the steps of one document; several documents at once share the cores.

Shapes: N bytes.
"""

import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import CancelledError, Future, ThreadPoolExecutor

import numpy as np
from numpy.typing import NDArray

from cpu1.runtime.model import Model

PIECE = 2048  # bytes between two checks whether to stop: tens of milliseconds; whole patches
WAITING_BYTES = 8 << 20  # of documents that were taken and not yet handed out

Bits = NDArray[np.float64]
ByteProgress = Callable[[int], None]  # called with the bytes that a piece has, from any thread


def bits_of_each(
    model: Model, documents: Iterable[bytes], jobs: int = 1, progress: ByteProgress | None = None
) -> Iterator[tuple[bytes, Bits]]:
    """Each document with the bits of its bytes (N,), in order, `jobs` of them read at once.

    Documents are taken as they are needed. When the iterator is closed or fails, all work stops within a piece.
    """
    stop = threading.Event()

    def work(document: bytes) -> Bits:
        return _bits(model, document, stop, progress)

    waiting: deque[tuple[bytes, Future[Bits]]] = deque()
    pool = ThreadPoolExecutor(jobs)
    try:
        size = 0
        for document in documents:
            waiting.append((document, pool.submit(work, document)))
            size += len(document)
            while waiting and (len(waiting) > 4 * jobs or size > WAITING_BYTES or waiting[0][1].done()):
                first, future = waiting.popleft()
                size -= len(first)
                yield first, future.result()
        while waiting:
            first, future = waiting.popleft()
            yield first, future.result()
    finally:
        stop.set()
        pool.shutdown(wait=False, cancel_futures=True)


def _bits(model: Model, document: bytes, stop: threading.Event, progress: ByteProgress | None) -> Bits:
    """The one place that uses the model. What it returns is `model.score(document)`."""
    if model.tokens is not None:  # its tokens may reach over the border of two pieces
        return model.score(document)
    session, bits = model.session(learn=False), []
    for start in range(0, len(document), PIECE):
        if stop.is_set():
            raise CancelledError
        piece = document[start : start + PIECE]
        bits.append(session.score(piece))
        if progress:
            progress(len(piece))
    return np.concatenate(bits) if bits else np.empty(0)
