"""The order in which a stream is trained on: a pure function of (seed, step), with nothing to save."""

from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cpu1.errors import UserError


class Windows:
    """Windows of `length` units cut from a stream, shuffled anew in each epoch.

    An epoch is a grid of windows at a random offset in [0, length), each seen once in random order. The
    offset moves the grid's borders, so no border is the same for ever. All epochs have the same number of
    windows: as many as fit at every offset (a stream of less than two windows has one, anywhere in it).
    """

    def __init__(self, stream: NDArray[Any], length: int, seed: int) -> None:
        if length < 1 or len(stream) < length:
            raise UserError(
                f"the training text holds {len(stream):,} units, less than one window of {length:,}: "
                "take more text or a shorter window"
            )
        self.stream = np.asarray(stream)
        self.length = length
        self.seed = seed
        self.count = max(1, (len(stream) - length + 1) // length)  # windows in an epoch
        self.epoch = lru_cache(maxsize=2)(self._epoch)

    def batch(self, step: int, size: int) -> NDArray[Any]:
        """The `size` windows of a step: [size, length], a copy; a batch may straddle epochs."""
        return self.read(self.places(step, size))

    def read(self, places: NDArray[np.int64]) -> NDArray[Any]:
        """The windows that begin at these places of the stream: [len(places), length], a copy."""
        return self.stream[places[:, None] + np.arange(self.length)]

    def places(self, step: int, size: int) -> NDArray[np.int64]:
        """Where the windows of a step begin: [size]."""
        epochs, places = np.divmod(np.arange(step * size, (step + 1) * size), self.count)
        starts = np.empty(size, np.int64)
        for epoch in np.unique(epochs):
            here = epochs == epoch
            starts[here] = self.epoch(int(epoch))[places[here]]
        return starts

    def _epoch(self, epoch: int) -> NDArray[np.int64]:
        """Where each window of an epoch starts, in the order they are seen: [count].

        Sorts raw random words rather than calling `Generator.permutation`: numpy promises that the words
        stay the same from version to version, but not what is made of them.
        """
        random = np.random.PCG64(np.random.SeedSequence((self.seed, epoch))).random_raw(self.count + 1)
        room = min(self.length, len(self.stream) - self.count * self.length + 1)
        offset = int(random[0] % np.uint64(room))
        return offset + self.length * np.argsort(random[1:], kind="stable")
