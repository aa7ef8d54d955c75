"""Patches that end behind words: where they end, and the row that each selects.

A patch ends behind a unit that is no part of a word if the unit before it in the patch is one, and behind its eighth
unit. So most patches are a word and the space behind it. Only the units of a patch decide where it ends: no byte is
seen before it is predicted. Words are those of `lookups.contexts`: letters, digits and bytes above 127.

`native/engine/lookups/patches.h` is its fast form.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from cpu1.format.operations import WORDS
from cpu1.lookups.contexts import stirred_all

FIRST = 16  # a patch of n bytes is hashed as the context of this number and n
_LETTERS = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz" + bytes(range(128, 256))
IN_WORD = np.isin(np.arange(257), np.frombuffer(_LETTERS, np.uint8))  # a separator is no part of a word


def is_whole(units: Sequence[int]) -> bool:
    """Whether a patch of words ends with the last of its units so far, of which none but that one may have ended it."""
    behind = len(units) > 1 and IN_WORD[units[-2]] and not IN_WORD[units[-1]]
    return bool(behind) or len(units) == WORDS


def starts(units: NDArray[np.integer]) -> NDArray[np.int64]:
    """The places at which the patches of a text of units (N,) begin, and N if the last one is whole."""
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


def count_whole(units: NDArray[np.integer]) -> int:
    """How many whole patches a text of units (N,) has."""
    return len(starts(units)) - 1


def patch_rows(patches: NDArray[np.int64], absent: int, rows: int) -> NDArray[np.int32]:
    """The row of a table of `rows` rows, a power of two, that each patch (..., 8) selects; `absent` fills its end."""
    key, length = np.zeros(patches.shape[:-1], np.uint64), (patches != absent).sum(-1).astype(np.uint64)
    for place in range(WORDS):
        unit = patches[..., place]
        shifted = key << np.uint64(8) | (unit & 255).astype(np.uint64)
        key = np.where(unit == absent, key, shifted)
    bits = rows.bit_length() - 1
    hashes = stirred_all(np.atleast_1d(key), np.atleast_1d(length) + np.uint64(FIRST))
    return (hashes >> np.uint64(64 - bits)).astype(np.int32).reshape(key.shape)
