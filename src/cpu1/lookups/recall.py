"""Memory of a document: which bytes followed the same contexts before. The definition, in plain Python.

For each context there is a table of slots. A slot holds the byte that followed last and how often in a row, and the
byte that followed before it with its run. A context may lie in either of two slots; a new one replaces the shorter run.
Beside them, a match: the last place where the same bytes stood. When a long match breaks, it goes on beside the next
one, for what differs is often short.

What the memory says of the next byte is a code: three bytes a context and three of the match, each (first byte, second
byte, level). A level is 4 times that of the first byte, plus that of the second; 0 means that nothing is known.

`native/engine/lookups/recall.cpp` is the fast form, of which sessions are made.
"""

import copy
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from cpu1.lookups.contexts import Contexts, stirred

LEVELS = 32
RUNS = 15  # most that are counted
FIRST_LEVEL = (0, 1, 2, 3, 4, 4, 5, 5, 5, 5, 6, 6, 6, 6, 6, 7)  # by run
SECOND_LEVEL = (0, 1, 2, 2, *[3] * 12)
MATCH_FROM = (1, 8, 10, 12, 16, 24, 32)  # agreed bytes from which on a match has level 1, 2, ...
LONGEST_MATCH = 32
MATCH_BITS, MATCH_KEY = 14, 11
WORTH_KEEPING = 16  # agreed bytes for which a broken match goes on beside
HELD = MISSED = 8  # most


@dataclass(frozen=True)
class RecallShape:
    """How large a memory is."""

    contexts: tuple[int, ...]
    slots: int  # of each context, a power of two
    history: int  # bytes that matches are looked for in, a power of two
    match: int  # bytes that must agree

    @property
    def code_size(self) -> int:
        """Bytes of a code."""
        return 3 * (len(self.contexts) + 1)


class Slot(NamedTuple):
    """What followed one context."""

    check: int
    first: int = 0
    second: int = 0
    first_run: int = 0  # 0: nothing yet
    second_run: int = 0

    def learned(self, byte: int) -> "Slot":
        """The slot after `byte` followed the context."""
        if self.first_run == 0 or self.first == byte:
            return self._replace(first=byte, first_run=min(self.first_run + 1, RUNS))
        # a byte that comes back keeps half of its run
        run = (self.second_run + 1) // 2 if self.second == byte and self.second_run > 1 else 1
        return Slot(self.check, byte, self.first, run, self.first_run)

    @property
    def level(self) -> int:
        """Of both bytes."""
        return 4 * FIRST_LEVEL[self.first_run] + SECOND_LEVEL[self.second_run]


class Recall:
    """The memory of one document."""

    def __init__(self, shape: RecallShape) -> None:
        self.shape = shape
        self.contexts = Contexts()
        self.slots: tuple[dict[int, Slot], ...] = tuple({} for _ in shape.contexts)  # absent: empty
        self.text = bytearray()
        self.last: dict[int, int] = {}  # by the hash of `match` bytes: the position after them
        self.ahead = self.agreed = 0  # where the byte lies that the match predicts; bytes that agree before it
        self.beside = self.held = self.missed = 0  # of the broken match; `missed` 0: there is none

    def copy(self) -> "Recall":
        """Another memory in the same state."""
        other = copy.copy(self)
        other.contexts = copy.copy(self.contexts)
        other.slots = tuple(table.copy() for table in self.slots)
        other.text, other.last = self.text.copy(), self.last.copy()
        return other

    def look(self) -> NDArray[np.uint8]:
        """The code (K + 1, 3) of the next byte."""
        found = [self._find(i)[1] for i in range(len(self.slots))]
        codes = [(slot.first, slot.second, slot.level) for slot in found]
        first = self.text[self.ahead] if self.agreed else 0
        second = self.text[self.beside] if self.missed else 0
        beside = 0 if not self.missed else 3 if self.held == HELD else 2 if self.held else 1
        match = sum(self.agreed >= start for start in MATCH_FROM)
        return np.array([*codes, (first, second, 4 * match + beside)], np.uint8)

    def read(self, text: bytes, own: bool = False) -> NDArray[np.uint8]:
        """Reads bytes; returns what was said of each before it was read (N, K + 1, 3).

        Bytes that the model has drawn itself are its `own`: the text goes on there, but nothing is learned from them.
        Else a word that was drawn once would be expected again.
        """
        codes = np.empty((len(text), len(self.slots) + 1, 3), np.uint8)
        for i, byte in enumerate(text):
            codes[i] = self.look()
            self._read(byte, own)
        return codes

    def _find(self, i: int) -> tuple[int, Slot]:
        """Context i's place in its table, and its slot: an empty one where it is new."""
        bits = self.shape.slots.bit_length() - 1
        hash_ = self.contexts.hash(self.shape.contexts[i])
        one, check = hash_ >> (64 - bits), hash_ >> (56 - bits) & 255
        table = self.slots[i]
        for place in (one, one ^ 1):
            if place in table and table[place].check == check:
                return place, table[place]
        runs = [table[place].first_run if place in table else 0 for place in (one, one ^ 1)]
        return (one if runs[0] <= runs[1] else one ^ 1), Slot(check)

    def _read(self, byte: int, own: bool) -> None:
        for i in range(0 if own else len(self.slots)):
            place, slot = self._find(i)
            self.slots[i][place] = slot.learned(byte)
        self.contexts.read(byte)
        self._follow(byte)
        self.text.append(byte)
        self._match(own)

    def _follow(self, byte: int) -> None:
        """The matches go on, or break."""
        if self.missed:
            right = self.text[self.beside] == byte
            self.beside += 1
            self.held = min(self.held + 1, HELD) if right else 0
            if not right:
                self.missed = self.missed + 1 if self.missed < MISSED else 0
        if not self.agreed:
            return
        right = self.text[self.ahead] == byte
        self.ahead += 1
        if right:
            self.agreed = min(self.agreed + 1, LONGEST_MATCH)
            return
        if self.agreed >= WORTH_KEEPING:
            self.beside, self.missed, self.held = self.ahead, 1, 0
        self.agreed = 0

    def _match(self, own: bool) -> None:
        """Where there is no match, one is looked for where the last bytes stood before."""
        position, length = len(self.text), self.shape.match
        if position < length:
            return
        key = stirred(self.contexts.recent & ((1 << 8 * length) - 1), MATCH_KEY) >> (64 - MATCH_BITS)
        last = self.last.get(key, 0)
        if not self.agreed and last and position - last <= self.shape.history - 1 - LONGEST_MATCH:
            same = 0
            while same < min(LONGEST_MATCH, last) and self.text[last - 1 - same] == self.text[position - 1 - same]:
                same += 1
            if same >= length:
                self.agreed, self.ahead = same, last
                if self.beside == self.ahead:
                    self.missed = 0
        if not own:
            self.last[key] = position
