"""How well a model predicts text that is held out: bits per byte, each piece read from its beginning, and a sample."""

import os
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor

from cpu1.runtime.model import Model
from cpu1.runtime.text import as_bytes

PROMPT, SAMPLE = 60, 200  # bytes of a sample's beginning and of what the model writes
TEMPERATURE = 0.6
FIGURE_BYTES = 256 << 10  # of held-out text, at most, in the figures before and after
PIECE = 2048  # bytes between two checks whether to stop: tens of milliseconds

ByteProgress = Callable[[int], None]  # called with the bytes of each piece that was read, from any thread


def cores() -> int:
    """How many this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def bits_per_byte(model: Model, texts: Sequence[bytes], jobs: int, progress: ByteProgress | None = None) -> float:
    """Of all texts together; each starts from the model's state, and `jobs` of them are read at once.

    All work stops within a piece when this is interrupted.
    """
    stop = threading.Event()
    with ThreadPoolExecutor(jobs) as pool:
        try:
            bits = sum(pool.map(lambda text: _bits(model, text, stop, progress), texts))
        finally:
            stop.set()
    return bits / sum(map(len, texts))


def _bits(model: Model, text: bytes, stop: threading.Event, progress: ByteProgress | None) -> float:
    session, bits = model.session(), 0.0
    for piece in pieces(text):
        if stop.is_set():
            break
        bits += float(session.score(piece).sum())
        if progress is not None:
            progress(len(piece))
    return bits


def pieces(text: bytes) -> Iterator[bytes]:
    """A text in pieces of PIECE bytes."""
    return (text[start : start + PIECE] for start in range(0, len(text), PIECE))


def prompt_of(text: bytes) -> bytes:
    """The beginning of a text up to the end of a word, from which samples go on."""
    start = text.lstrip()[: PROMPT + 1]
    return as_bytes(start[: max(start.rfind(b" "), start.rfind(b"\n"), 1)])


def sample(model: Model, prompt: bytes, seed: int) -> str:
    """What a model makes of a beginning, in one line, without what a terminal would obey."""
    written = model.generate(prompt, max_bytes=SAMPLE, temperature=TEMPERATURE, seed=seed)
    line = " ".join((prompt.decode("utf-8", "replace") + written).split())
    return "".join(letter if letter.isprintable() else "\N{REPLACEMENT CHARACTER}" for letter in line)


def some_of(texts: Sequence[bytes], size: int) -> list[bytes]:
    """The beginnings of texts, of `size` bytes in all at most: as much of each as there is room for."""
    share = max(1024, size // len(texts))
    some = []
    for text in texts:
        if size > 0:
            some.append(text[: min(share, size)])
            size -= len(some[-1])
    return some
