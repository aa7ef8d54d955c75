"""How far long work is, in one line of a terminal's standard error that is drawn again and again."""

import sys
import threading
import time
from typing import Self

SECONDS_A_LOOK = 0.25


class Meter:
    """The line, and how long the work took. It shows nothing where standard error is no terminal, or if `quiet`."""

    def __init__(self, quiet: bool = False, size: int = 0) -> None:
        """`size`: bytes to read in all, 0 where nobody knows."""
        self._shows, self._size, self._done = sys.stderr.isatty() and not quiet, size, 0
        self._begun = self._shown = time.monotonic()
        self._ended: float | None = None
        self._lock = threading.Lock()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._ended = time.monotonic()
        self.clear()

    @property
    def seconds(self) -> float:
        """Of the work, so far or in all; never zero."""
        return max((self._ended or time.monotonic()) - self._begun, 1e-9)

    def read(self, size: int) -> None:
        """Called when `size` bytes more were read, from any thread."""
        with self._lock:
            self._done += size
            self._put_rate()

    def look(self, done: int, size: int) -> None:
        """Called when `done` bytes of `size` are finished, from any thread."""
        with self._lock:
            self._done, self._size = done, size
            self._put_rate()

    def put(self, text: str) -> None:
        """Shows a text of its own."""
        with self._lock:
            self._put(text)

    def clear(self) -> None:
        """Takes the line away, before something else is printed."""
        with self._lock:
            if self._shows:
                self._draw("")

    def _put_rate(self) -> None:
        rate = max(self._done, 1) / self.seconds
        if self._size:
            left = spelled_time(max(self._size - self._done, 0) / rate)
            self._put(f"{min(self._done / self._size, 1):.0%}, {rate / 1e3:,.1f} KB/s, {left} left")
        else:
            self._put(f"{self._done / 1e3:,.0f} KB, {rate / 1e3:,.1f} KB/s")

    def _put(self, text: str) -> None:
        now = time.monotonic()
        if self._shows and now - self._shown > SECONDS_A_LOOK:
            self._shown = now
            self._draw(text)

    def _draw(self, text: str) -> None:
        print(f"\r\033[K{text}", end="", file=sys.stderr, flush=True)


def spelled_time(seconds: float) -> str:
    """Seconds up to a minute and a half, then minutes."""
    return f"{seconds:.0f} s" if seconds < 90 else f"{seconds / 60:.0f} min"
