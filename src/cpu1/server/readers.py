"""Threads that read texts for the event loop: for scores, judgements and log-probabilities."""

import asyncio
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from cpu1.server.errors import ApiError, busy, closing

Result = TypeVar("Result")


class LeftError(Exception):
    """Nobody wants the result any more."""


class Check:
    """Called often while a text is read: raises LeftError when the client has gone."""

    def __init__(self) -> None:
        self.left = threading.Event()

    def __call__(self) -> None:
        if self.left.is_set():
            raise LeftError


class Readers:
    """A few threads with a bounded queue."""

    def __init__(self, threads: int, most: int) -> None:
        """At most `most` readings run or wait at once."""
        self._pool = ThreadPoolExecutor(threads, "reader")
        self._room = threading.BoundedSemaphore(most)
        self._closing = False

    async def run(self, work: Callable[[Check], Result]) -> Result:
        """What `work` returns. It stops soon after the caller is cancelled. ApiError where too many wait."""
        if self._closing:
            raise closing()
        if not self._room.acquire(blocking=False):
            raise busy(1)
        check = Check()
        future = self._pool.submit(work, check)
        future.add_done_callback(lambda _: self._room.release())
        try:
            return await asyncio.wrap_future(future)
        except LeftError:
            raise ApiError(503, "the reading was stopped", code="stopped") from None
        finally:
            check.left.set()

    def close(self) -> None:
        """No more readings are taken, those that wait are dropped; the threads end when their work does."""
        self._closing = True
        self._pool.shutdown(wait=False, cancel_futures=True)
