"""Where patches end: after so many units, or behind words.

A patch of words ends behind the first unit that is no part of a word, if the unit before it in the patch is one, or with
its last place. So most patches are a word and the space behind it. What was read of a patch decides where it ends, and
nothing else: no byte is ever seen before it is predicted. Words are those of `lookups.contexts`: letters, digits and
bytes above 127.

`native/engine/format/program.h` has the same rule.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from cpu1.format.operations import WORDS
from cpu1.lookups.contexts import stirred

FIRST = 16  # a patch of n bytes is hashed as the context of this number and n
_LETTERS = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz" + bytes(range(128, 256))
IN_WORD = np.isin(np.arange(257), np.frombuffer(_LETTERS, np.uint8))  # a separator is no part of a word


def is_whole(units: Sequence[int]) -> bool:
    """Whether a patch of words ends with the last of its units so far, of which none but that one may have ended it."""
    behind = len(units) > 1 and IN_WORD[units[-2]] and not IN_WORD[units[-1]]
    return bool(behind) or len(units) == WORDS


def starts(units: NDArray[np.integer]) -> NDArray[np.int64]:
    """The places at which the patches of words of a text of units (N,) begin, N itself last if the last one is whole."""
    count = len(units)
    inside = IN_WORD[units]
    ends = np.full(count + 1, count + WORDS, np.int64)  # the first place from here on that may end a patch
    behind = np.flatnonzero(inside[:-1] & ~inside[1:]) + 1
    ends[behind] = behind
    ends = np.minimum.accumulate(ends[::-1])[::-1]
    following = (np.minimum(ends[1:], np.arange(count) + WORDS - 1) + 1).tolist()
    places, place = [], 0
    while place < count:
        places.append(place)
        place = following[place]
    return np.array(places + [count] * (place == count), np.int64)


def patch_rows(patches: NDArray[np.int64], absent: int, rows: int) -> NDArray[np.int32]:
    """The row of a table of `rows` rows, a power of two, that each patch (..., 8) selects; `absent` fills its end."""
    key, length = np.zeros(patches.shape[:-1], np.uint64), (patches != absent).sum(-1).astype(np.uint64)
    for place in range(WORDS):
        unit = patches[..., place]
        shifted = key << np.uint64(8) | (unit & 255).astype(np.uint64)
        key = np.where(unit == absent, key, shifted)
    bits = rows.bit_length() - 1
    return (stirred(key, length + np.uint64(FIRST)) >> np.uint64(64 - bits)).astype(np.int32)
