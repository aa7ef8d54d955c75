"""What the last bytes of a text are looked up by: one hash of each context.

Contexts 1 to 8 are so many bytes; 9 is the word so far, 10 the word so far and the word before it. A word is a run of
letters, digits and bytes above 127; capitals of ASCII count as small letters. Between words, the last byte takes the
word's place. Bytes before the beginning of a text count as zeros. Sums and products are modulo 2^64.

Tables of n-grams and the memory of a document use the same hash. `native/engine/lookups/contexts.h` is its fast form.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from cpu1.errors import UserError
from cpu1.format.operations import CONTEXTS

LONGEST = 8  # bytes of an order
WORD, PAIR = 9, 10
FACTOR, STIR = 0x9E3779B97F4A7C15, 0xD6E8FEB86659FD93
WHOLE = (1 << 64) - 1
# Counts that a learner keeps of each context, as powers of two. They are here so that whoever asks for a learner need
# not import it: that makes its tables.
COUNTS = 16  # where nothing else is asked for
LEAST_COUNTS, MOST_COUNTS = 10, 22


class Contexts:
    """The last bytes of one text, as far as contexts reach."""

    def __init__(self) -> None:
        self.recent = 0  # the last eight bytes, the latest lowest
        self.word = 0  # of the letters of the word so far; 0 between words
        self.before = 0  # the same of the word before it

    def read(self, byte: int) -> None:
        """Takes in the next byte."""
        self.recent = (self.recent << 8 | byte) & WHOLE
        lower = byte + 32 if 65 <= byte <= 90 else byte
        if 97 <= lower <= 122 or 48 <= byte <= 57 or byte >= 128:
            self.word = (self.word * FACTOR + lower + 1) & WHOLE
        elif self.word:
            self.before, self.word = self.word, 0

    def hash(self, context: int) -> int:
        """64 bits; tables take their rows from the upper ones."""
        if context <= LONGEST:
            key = self.recent & ((1 << 8 * context) - 1)
        else:
            key = (self.word or self.recent & 255) + (self.before * STIR if context == PAIR else 0)
        return stirred(key, context)


def stirred(key: int, context: int) -> int:
    """The hash of a context's key."""
    h = (key + context * STIR) * FACTOR & WHOLE
    return (h ^ h >> 32) * STIR & WHOLE


def stirred_all(keys: NDArray[np.uint64], contexts: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """The hashes of many keys, each with its context's number."""
    h = (keys + contexts * np.uint64(STIR)) * np.uint64(FACTOR)
    return (h ^ h >> np.uint64(32)) * np.uint64(STIR)


def check_contexts(contexts: Sequence[int], owner: str) -> None:
    """Raises UserError unless these are 1 to 16 different contexts."""
    if not 1 <= len(contexts) <= CONTEXTS or len(set(contexts)) != len(contexts):
        raise UserError(f"{owner}: contexts are {list(contexts)}; give 1 to {CONTEXTS} different ones")
    if unknown := [context for context in contexts if not 1 <= context <= PAIR]:
        raise UserError(
            f"{owner}: no context {unknown[0]}; there are 1 to {LONGEST} (bytes), {WORD} (the word so far) and {PAIR} "
            "(the word so far and the word before it)"
        )


def check_power(name: str, value: int, low: int, high: int) -> None:
    """Raises UserError unless `value` is a power of two from `low` to `high`."""
    if not low <= value <= high or value & (value - 1):
        raise UserError(f"{name} is {value}; it must be a power of two from {low} to {high}")
