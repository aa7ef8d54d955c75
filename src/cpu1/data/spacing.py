"""English text in the spacing of the WikiText sets (arXiv 1609.07843): blanks around every word and mark.

Those sets were cut into tokens and joined again with blanks, and even their raw versions keep that form. Punctuation
has blanks around it (`the text , too .`). A hyphen, comma or point inside a word or number has signs around it
(`well @-@ known`, `1 @,@ 500`), a title has signs of equality, and a line has a blank at either end. A model that has
never read such text scores badly on it.
"""

import re
from functools import lru_cache
from typing import Any

from cpu1.errors import UserError

PLAIN = str.maketrans({"“": '"', "”": '"', "‘": "'", "’": "'", "—": " — "})
INSIDE_NUMBER = re.compile(r"(?<=\d)([,.])(?=\d)")
TITLE = re.compile(r"[^-*].{,78}(?<![.!?:;,\"”)])")  # a short line that ends as no sentence does


def spaced(document: bytes) -> bytes:
    """A document of UTF-8 text, one paragraph or title a line, in that spacing. UserError without sacremoses."""
    lines = map(str.strip, document.decode("utf-8", "surrogateescape").split("\n"))
    return "".join(map(_spaced_line, filter(None, lines))).encode("utf-8", "surrogateescape")


def _spaced_line(line: str) -> str:
    apart = INSIDE_NUMBER.sub(r" @\1@ ", line.translate(PLAIN))
    words = _tokenizer().tokenize(apart, aggressive_dash_splits=True, escape=False, return_str=True)
    for mark in ",.":
        words = words.replace(f"@ {mark} @", f"@{mark}@")
    return f" \n = {words} = \n \n" if TITLE.fullmatch(line) else f" {words} \n"


@lru_cache(maxsize=1)
def _tokenizer() -> Any:
    """The tokenizer of Moses, with which the sets were made."""
    try:
        from sacremoses import MosesTokenizer
    except ImportError:
        raise UserError("spaced text needs the sacremoses library: pip install 'cpu1[spacing]'") from None
    return MosesTokenizer("en")
