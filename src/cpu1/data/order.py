"""The order of a stream's windows in training: a pure function of (seed, step), with nothing to save."""

from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cpu1.errors import UserError


class Windows:
    """Windows of `length` units cut from a stream, in another order in each epoch.

    An epoch is a grid of windows at a random offset in [0, length), each read once in random order. The offset moves
    the borders of the windows from epoch to epoch. All epochs have the same number of windows: as many as fit at every
    offset (a stream of less than two windows has one, anywhere in it). UserError for a stream shorter than a window.
    """

    def __init__(
        self, stream: NDArray[Any], length: int, seed: int, ends: NDArray[np.int64] | None = None, separator: int = 0
    ) -> None:
        """`ends`: the places of the stream, in order, at which windows have the unit `separator` instead."""
        if length < 1 or len(stream) < length:
            raise UserError(
                f"the training text holds {len(stream):,} units, less than one window of {length:,}: "
                "take more text or a shorter window"
            )
        self.stream, self.ends, self.separator = np.asarray(stream), ends, separator
        self.length = length
        self.seed = seed
        self.count = max(1, (len(stream) - length + 1) // length)  # windows in an epoch
        self.epoch = lru_cache(maxsize=2)(self._epoch)

    def batch(self, step: int, size: int) -> NDArray[Any]:
        """The `size` windows of a step: a copy (size, length). A batch may straddle epochs."""
        return self.read(self.starts(step, size))

    def read(self, starts: NDArray[np.int64]) -> NDArray[Any]:
        """The windows that begin at `starts` (n,) of the stream: a copy (n, length)."""
        windows = self.stream[starts[:, None] + np.arange(self.length)]
        if self.ends is None:
            return windows
        windows = windows.astype(np.int64)
        first, last = np.searchsorted(self.ends, (starts, starts + self.length))
        for row, (start, left, right) in enumerate(zip(starts, first, last, strict=True)):
            windows[row, self.ends[left:right] - start] = self.separator
        return windows

    def starts(self, step: int, size: int) -> NDArray[np.int64]:
        """Where in the stream the windows of a step begin: (size,)."""
        epochs, numbers = np.divmod(np.arange(step * size, (step + 1) * size), self.count)
        starts = np.empty(size, np.int64)
        for epoch in np.unique(epochs):
            inside = epochs == epoch
            starts[inside] = self.epoch(int(epoch))[numbers[inside]]
        return starts

    def _epoch(self, epoch: int) -> NDArray[np.int64]:
        """Where each window of an epoch starts, in the order of training: (count,).

        Sorts raw random words instead of calling `Generator.permutation`: numpy promises that the words stay the same
        from version to version, but not the permutations made of them.
        """
        random = np.random.PCG64(np.random.SeedSequence((self.seed, epoch))).random_raw(self.count + 1)
        room = min(self.length, len(self.stream) - self.count * self.length + 1)
        offset = int(random[0] % np.uint64(room))
        return offset + self.length * np.argsort(random[1:], kind="stable")
