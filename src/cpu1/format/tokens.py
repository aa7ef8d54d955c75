"""BPE tokens of any bytes, without the lab's libraries: what a packed model needs of its tokenizer.

The format is that of `cpu1.data.bpe`: token 0 separates documents, bytes are tokens 1 to 256, merges follow. Byte-level
models read the bytes 0 to 255 themselves; what separates their documents is said here too.
Encoding here is plain Python, for prompts; it gives the same tokens as the library that the lab encodes with.
"""

import re
from collections.abc import Iterable
from functools import lru_cache
from itertools import pairwise
from typing import Final, Self

import numpy as np
from numpy.typing import NDArray

from cpu1.files import strict_json

FORMAT: Final = 1
SEPARATOR = 0  # the token between documents; bytes are tokens 1 to 256, merges follow
BYTE_SYMBOLS = 257  # of a byte-level model: the bytes, and the separator behind them
OLD_BYTE_SYMBOLS = 256  # of older ones, for which NUL was the separator
VOCABULARIES = range(257, 65537)  # so that a token fits 16 bits
# Words are at most 48 bytes (and a space), which bounds tokens, and training where nothing parts words.
WORDS = (
    r" ?[A-Za-z\x80-\xff]{1,48}"
    r"| ?[0-9]{1,3}"
    r"| ?[^ \t-\rA-Za-z0-9\x80-\xff]{1,48}"
    r"|[ \t-\r]{1,48}(?![^ \t-\r])"  # of blanks before a word the last is left to the word
    r"|[ \t-\r]"
)
LONGEST_TOKEN = 49
WORDS_REMEMBERED = 1 << 14


def separator(level: str, symbols: int) -> int:
    """The unit between documents, of a model that reads units of a `level` ("byte" or "token") of so many symbols."""
    return BYTE_SYMBOLS - 1 if level == "byte" and symbols == BYTE_SYMBOLS else SEPARATOR


class Tokens:
    """Encodes and decodes with given merges."""

    def __init__(self, vocabulary: int, merges: Iterable[tuple[int, int]]) -> None:
        """`merges` are pairs of token ids, best first; ValueError where they do not make a vocabulary."""
        if vocabulary not in VOCABULARIES:
            raise ValueError(f"a vocabulary of {vocabulary} tokens")
        self.merges = [(int(left), int(right)) for left, right in merges]
        used = spell(self.merges)
        if len(used) > vocabulary:
            raise ValueError(f"{len(used)} tokens in a vocabulary of {vocabulary}")
        self.vocabulary = vocabulary
        #: what each id stands for; nothing for the separator and unused ids
        self.token_bytes: list[bytes] = used + [b""] * (vocabulary - len(used))
        ids = {token: i for i, token in enumerate(used)}
        # rank and result of each pair; of a pair that occurs twice the last counts, as in the library
        self._merges = {pair: (rank, ids[used[pair[0]] + used[pair[1]]]) for rank, pair in enumerate(self.merges)}
        self._words = re.compile(WORDS.encode("latin-1"))
        self._encode_word = lru_cache(WORDS_REMEMBERED)(self._merge)

    @classmethod
    def parse(cls, data: bytes) -> Self:
        """Reads a tokenizer.json; ValueError when it is not one."""
        try:
            about = strict_json(data)
            if about["format"] != FORMAT:
                raise ValueError(f"format {about['format']}, not {FORMAT}")
            return cls(about["vocabulary"], about["merges"])
        except (KeyError, TypeError, ValueError, IndexError) as error:
            raise ValueError(f"not a tokenizer ({error})") from None

    def encode(self, text: bytes) -> NDArray[np.uint16]:
        """The token ids of any bytes: [tokens]; the separator is never among them."""
        ids = [token for word in self._words.findall(text) for token in self._encode_word(word)]
        return np.array(ids, np.uint16)

    def decode(self, ids: Iterable[int]) -> bytes:
        """The bytes that tokens stand for; separators and unused ids give none. ValueError for ids beyond."""
        ids = np.asarray(ids, np.int64)
        if ids.size and not 0 <= ids.min() <= ids.max() < self.vocabulary:
            raise ValueError(f"token ids must lie in 0 to {self.vocabulary - 1}")
        return b"".join([self.token_bytes[i] for i in ids.tolist()])

    def _merge(self, word: bytes) -> tuple[int, ...]:
        """Bytes to tokens: the best pair is joined, the leftmost first, until none is left to join."""
        ids = [byte + 1 for byte in word]
        while len(ids) > 1:
            found = [(*self._merges[pair], i) for i, pair in enumerate(pairwise(ids)) if pair in self._merges]
            if not found:
                break
            _, token, i = min(found, key=lambda merge: (merge[0], merge[2]))
            ids[i : i + 2] = [token]
        return tuple(ids)


def spell(merges: list[tuple[int, int]]) -> list[bytes]:
    """The bytes of each token in use. Two merges may spell the same token, which then has one id."""
    tokens = [b"", *(bytes([byte]) for byte in range(256))]
    known = set(tokens)
    for left, right in merges:
        if not (SEPARATOR < left < len(tokens) and SEPARATOR < right < len(tokens)):
            raise ValueError(f"merge of {left} and {right}, of {len(tokens)} tokens")
        token = tokens[left] + tokens[right]
        if len(token) > LONGEST_TOKEN:
            raise ValueError(f"a token of {len(token)} bytes")
        if token not in known:
            known.add(token)
            tokens.append(token)
    return tokens
