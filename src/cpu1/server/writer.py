"""The one thread that writes texts. It steps a batch, so that all texts share each reading of the weights.

The event loop hands it texts and hears from it. No model work is done on the loop, and the loop waits for no step.
"""

import asyncio
import os
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from cpu1.errors import UserError
from cpu1.runtime.batch import Batch, Piece
from cpu1.runtime.model import Model
from cpu1.runtime.sampling import SamplingOptions
from cpu1.server.errors import ApiError, busy, closing
from cpu1.server.settings import Settings

TOLD_AT_ONCE = 64  # texts that the loop wakes in a row, before it looks at its connections again
SHORTEST_PAUSE, PAUSE_A_TEXT, LONGEST_PAUSE = 0.02, 0.002, 0.5  # seconds between two pieces of a text: sending costs
NICENESS = 3  # of the threads that write, beyond that of the event loop


def _give_way() -> None:
    """Lets the event loop go first where cores are scarce. The threads that a batch starts have the same priority."""
    if sys.platform == "linux":  # where threads have priorities of their own
        os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), os.getpriority(os.PRIO_PROCESS, 0) + NICENESS)


@dataclass(frozen=True)
class Task:
    """A text to write."""

    prompt: bytes
    max_bytes: int
    stop: tuple[str, ...]
    sampling: SamplingOptions
    bits: bool  # whether its pieces have the cost of each byte
    may_end: bool
    live: bool  # whether its pieces are wanted as they come, not all at the end


class Writing:
    """A text while it is written. Its pieces come from the writer's thread; the rest is for the event loop."""

    def __init__(self, task: Task, news: asyncio.Event) -> None:
        """`news` is set when there are pieces to take, or it failed; several texts may share it."""
        self.task, self.news = task, news
        self.pieces: deque[Piece] = deque()
        self.failure: ApiError | None = None
        self.stream: int | None = None  # of the batch; None while it waits
        self.left = False  # nobody wants it any more
        self.told = 0.0  # when the loop last heard of it

    def take(self) -> list[Piece]:
        """The pieces that came since the last call. After them may come a failure."""
        found = []
        while self.pieces:
            found.append(self.pieces.popleft())
        return found


class Writer:
    """Texts that are being written, and those that wait for their turn. Made and used on the event loop."""

    def __init__(self, model: Model, settings: Settings) -> None:
        self._model, self._settings = model, settings
        self._loop = asyncio.get_running_loop()
        self._arrived: deque[Writing] = deque()
        self._active: dict[int, Writing] = {}
        self._due: deque[Writing] = deque()
        self._telling = self._closing = self._over = False
        self._wake = threading.Event()
        self._batch: Batch
        self._rate = 1.0  # texts that end in a second, of late
        self._last_end = time.monotonic()
        self.written = 0  # bytes, since the start
        self._thread = threading.Thread(target=self._run, name="writer", daemon=True)
        self._thread.start()

    def _new_batch(self) -> Batch:
        return self._model.batch(self._settings.threads, self._settings.streams)

    @property
    def streams(self) -> int:
        """Texts being written."""
        return len(self._active)

    @property
    def waiting(self) -> int:
        """Texts that wait."""
        return len(self._arrived)

    def submit(self, writings: Sequence[Writing]) -> None:
        """Takes all of these texts, or raises ApiError: too many wait, or the server is shutting down."""
        if self._closing:
            raise closing()
        free = max(0, self._settings.streams - self.streams)
        if len(writings) + self.waiting > self._settings.queue + free:
            raise busy(self._seconds(self.waiting))
        self._arrived.extend(writings)
        self._wake.set()

    def _seconds(self, before: int) -> int:
        """A guess at how long `before` texts take."""
        return min(max(1, round(before / max(self._rate, 0.1))), 60)

    def leave(self, writings: Sequence[Writing]) -> None:
        """Nobody wants these texts any more: their memory is freed at the end of the step that runs."""
        for writing in writings:
            writing.left = True
            try:
                self._arrived.remove(writing)
            except ValueError:
                if writing.stream is not None and self._active.pop(writing.stream, None) is not None:
                    self._batch.cancel(writing.stream)
        self._wake.set()

    def close(self) -> None:
        """No more texts are taken; those that are here go on."""
        self._closing = True

    def end(self) -> None:
        """All texts end now; the thread is over when this returns."""
        self._closing = self._over = True
        self._wake.set()
        self._thread.join()
        for writing in [*self._arrived, *self._active.values()]:
            self._fail(writing, closing())
        self._arrived.clear()
        self._active.clear()

    # ------------------------------------------------------------------------- on the event loop

    def _tell(self, due: Sequence[Writing]) -> None:
        """Wakes those who wait for these texts, a few at a time: other requests have their turn between."""
        self._due.extend(due)
        if not self._telling:
            self._telling = True
            self._tell_some()

    def _tell_some(self) -> None:
        for _ in range(min(TOLD_AT_ONCE, len(self._due))):
            self._due.popleft().news.set()
        self._telling = bool(self._due)
        if self._telling:
            self._loop.call_soon(self._tell_some)

    @staticmethod
    def _fail(writing: Writing, failure: ApiError) -> None:
        writing.failure = failure
        writing.news.set()

    # --------------------------------------------------------------------- on the writer's thread

    def _run(self) -> None:
        _give_way()
        self._batch = self._new_batch()
        while not self._over:
            self._admit()
            try:
                self._step()
            except Exception as error:  # a fault of ours: the server goes on without the texts it was in
                print(f"cpu1: error: writing failed, {len(self._active)} texts lost: {error!r}", file=sys.stderr)
                lost = ApiError(500, "the server failed to write this text", code="internal")
                self._lose(list(self._active.values()), lost)
                self._active.clear()
                self._batch = self._new_batch()
            if not self._active and not self._arrived:
                self._wake.wait()
                self._wake.clear()

    def _admit(self) -> None:
        """Texts that wait join the batch, as many as there is room for."""
        while self._arrived and len(self._active) < self._settings.streams:
            try:
                writing = self._arrived.popleft()
            except IndexError:  # it was left just now
                return
            task = writing.task
            try:
                stream = self._batch.add(
                    task.prompt, task.max_bytes, task.stop, bits=task.bits, may_end=task.may_end, **task.sampling
                )
            except UserError as error:
                self._lose([writing], ApiError(400, str(error), code="invalid_value"))
                continue
            writing.stream = stream
            self._active[stream] = writing
            if writing.left and self._active.pop(stream, None) is not None:
                self._batch.cancel(stream)

    def _step(self) -> None:
        """Every text grows by a patch. Those that ended, and those that have not been sent for a while, are due."""
        pieces = self._batch.step()
        now = time.monotonic()
        pause = min(max(SHORTEST_PAUSE, PAUSE_A_TEXT * len(pieces)), LONGEST_PAUSE)
        due, ended = [], 0
        for piece in pieces:
            writing = self._active.get(piece.stream)
            if writing is None:
                continue
            self.written += len(piece.data)
            writing.pieces.append(piece)
            if piece.end:
                self._active.pop(piece.stream, None)
                ended += 1
            elif not writing.task.live or now - writing.told < pause:
                continue
            writing.told = now
            due.append(writing)
        if ended:
            self._rate += 0.1 * (ended / max(now - self._last_end, 1e-3) - self._rate)
            self._last_end = now
        if due:
            self._call(self._tell, due)

    def _lose(self, writings: Sequence[Writing], failure: ApiError) -> None:
        for writing in writings:
            self._call(self._fail, writing, failure)

    def _call(self, function: Callable[..., None], *arguments: object) -> None:
        if not self._loop.is_closed():
            self._loop.call_soon_threadsafe(function, *arguments)
