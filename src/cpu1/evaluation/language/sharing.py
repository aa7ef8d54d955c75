"""What texts cost, where many of them begin alike: a common beginning is read once.

Shapes: N units.
"""

from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from cpu1.runtime.sampling import Sampler, Sampling
from cpu1.runtime.units import Units, UnitStream

WORTH = 16  # units read again cost as much as a state kept and restored
STEP = 4  # a patch has at most four units: whole steps are read side by side, others unit by unit
ROUNDING = 1e-3  # nats


class Asked(NamedTuple):
    """A text in two parts, of which the second is to be measured."""

    context: Units
    target: Units


class Cost(NamedTuple):
    """What a target costs after its context."""

    nats: NDArray[np.float64]  # of each unit (N,)
    greedy: bool | None  # whether the stream would write it at temperature 0; None: not asked


class _Place(NamedTuple):
    """A state of the stream after so many units of the text that it reads."""

    units: int
    state: bytes


def costs(stream: UnitStream, asked: Sequence[Asked], greedy: bool = False) -> list[Cost]:
    """The cost of each target, where each context starts from the stream's state. With `greedy`, also what
    it writes itself.

    No result depends on which texts are asked for together.
    """
    found: dict[int, Cost] = dict(in_order(stream, asked, greedy))
    return [found[number] for number in range(len(asked))]


def common(one: Units, other: Units) -> int:
    """How many units two texts have in common at their beginning, in whole steps."""
    shorter = min(len(one), len(other))
    differs = np.flatnonzero(one[:shorter] != other[:shorter])
    same = int(differs[0]) if len(differs) else shorter
    return same - same % STEP


def key(asked: Asked) -> bytes:
    """The place of a text in an order in which texts that begin alike are neighbours."""
    return np.concatenate(asked).astype(">u4").tobytes()


def in_order(stream: UnitStream, asked: Sequence[Asked], greedy: bool) -> Iterator[tuple[int, Cost]]:
    """`costs` one by one, each with its number, in the order of `key`."""
    texts = [np.concatenate(each) for each in asked]
    order = sorted(range(len(texts)), key=lambda number: key(asked[number]))
    shared = [0, *(common(texts[a], texts[b]) for a, b in pairwise(order)), 0]
    reader = _Reader(stream, greedy)
    for at, number in enumerate(order):
        reader.begin(texts[number], len(asked[number].context), shared[at])
        reader.read(_parting(shared[at + 1 :], reader.depth))
        yield number, reader.cost()


def _parting(shared: Sequence[int], depth: int) -> list[int]:
    """The places beyond `depth` where later texts part from this one, by what each shares with the one before it."""
    places: list[int] = []
    for least in np.minimum.accumulate(shared).tolist():
        if least < depth + WORTH:
            break
        if not places or least <= places[-1] - WORTH:
            places.append(least)
    return places


class _Reader:
    """Reads texts one after the other. States within the last one are kept for the next ones."""

    def __init__(self, stream: UnitStream, greedy: bool) -> None:
        self._stream, self._greedy = stream, greedy
        self._places = [_Place(0, stream.state)]
        self._nats = np.zeros(0)  # of the text's units; NaN where they were read without being measured
        self._first: dict[int, int] = {}  # the likeliest unit after contexts of the text, by their length
        self.depth = 0  # units read

    def begin(self, text: Units, context: int, shared: int) -> None:
        """Goes to the last place from which `text` can be read, of which `shared` units are those of the one before."""
        unknown = np.flatnonzero(np.isnan(self._nats[context:shared]))
        self._go_back(context + int(unknown[0]) if len(unknown) else shared)
        self._text, self._context = text, context
        self._first = {length: unit for length, unit in self._first.items() if length <= shared}
        self._nats = np.concatenate([self._nats[: self.depth], np.full(len(text) - self.depth, np.nan)])

    def read(self, places: Sequence[int]) -> None:
        """Reads to the end. Keeps the states at `places`, and at the end of the context where it may be needed."""
        kept = {*places, self._context} if self._greedy and self._context >= self.depth + WORTH else set(places)
        for end in sorted({*kept, max(self._context, self.depth), len(self._text)}):
            if end <= self._context:
                self._stream.advance(self._text[self.depth : end])
            else:
                self._nats[self.depth : end] = self._stream.score(self._text[self.depth : end])
            self.depth = end
            if end in kept:
                self._places.append(_Place(end, self._stream.state))

    def cost(self) -> Cost:
        """The cost of the target."""
        nats = self._nats[self._context :].copy()
        return Cost(nats, self._is_greedy(nats) if self._greedy else None)

    def _is_greedy(self, nats: NDArray[np.float64]) -> bool:
        """Whether the stream itself would write the target. What it has drawn itself its lookups do not remember."""
        target = self._text[self._context :]
        if not len(target):
            return True
        if nats[0] > np.log(len(self._stream.next_logits())) + ROUNDING:
            return False  # the likeliest of V units costs at most log V
        if self._first.get(self._context, target[0]) != target[0]:
            return False
        self._go_back(self._context)
        self._stream.advance(self._text[self.depth : self._context])
        if self._first.setdefault(self._context, int(self._stream.next_logits().argmax())) != target[0]:
            return False
        sampler = Sampler(Sampling(temperature=0))
        pieces = (target[at : at + STEP] for at in range(0, len(target), STEP))  # most end soon
        return all(np.array_equal(self._stream.generate(len(piece), sampler), piece) for piece in pieces)

    def _go_back(self, limit: int) -> None:
        """Goes to the last kept place within `limit` units."""
        while self._places[-1].units > limit:
            self._places.pop()
        self.depth, self._stream.state = self._places[-1]
