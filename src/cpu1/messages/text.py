"""Codes as letters, for links that carry text: 84 characters that SMS sends in seven bits each and JSON as they are.

Numbers of base 84: a block of 163 bytes is 204 characters, and a shorter last block takes as few as hold it. So the
number of characters says how many bytes there are.
"""

import math

from cpu1.errors import UserError

# Of the 94 characters of ASCII that print: without ^ { } [ ] ~ \ | which SMS sends in two parts, without ` which it
# lacks, and without the quotation mark that JSON escapes. In the order of ASCII.
ALPHABET = "!#$%&'()*+,-./0123456789:;<=>?@ABCDEFGHIJKLMNOPQRSTUVWXYZ_abcdefghijklmnopqrstuvwxyz"
BASE = len(ALPHABET)
BLOCK = 163  # bytes; 84^204 is just above 256^163
DIGITS = {character: digit for digit, character in enumerate(ALPHABET)}


def characters(size: int) -> int:
    """How many characters a block of `size` bytes takes: the fewest that hold it."""
    return math.ceil(size * 8 / math.log2(BASE))


SIZES = {characters(size): size for size in range(BLOCK + 1)}
LONGEST = characters(BLOCK)


def to_text(code: bytes) -> str:
    """The characters of a code."""
    return "".join(_write(code[i : i + BLOCK]) for i in range(0, len(code), BLOCK))


def from_text(text: str) -> bytes:
    """The code of characters. UserError for what `to_text` does not write."""
    return b"".join(_read(text[i : i + LONGEST]) for i in range(0, len(text), LONGEST))


def _write(block: bytes) -> str:
    value, digits = int.from_bytes(block, "big"), []
    for _ in range(characters(len(block))):
        value, digit = divmod(value, BASE)
        digits.append(ALPHABET[digit])
    return "".join(reversed(digits))


def _read(text: str) -> bytes:
    value = 0
    for character in text:
        if character not in DIGITS:
            raise UserError(f"the code is damaged: {character!r} is not a character of codes")
        value = value * BASE + DIGITS[character]
    size = SIZES.get(len(text))
    if size is None or value >> 8 * size:
        raise UserError("the code is damaged: no code has these characters")
    return value.to_bytes(size, "big")
