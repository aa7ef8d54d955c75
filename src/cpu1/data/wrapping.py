"""Text with lines of 60 to 79 characters, as in mail, manuals and files of plain text.

Most texts for training have a paragraph on each line. A model that has read nothing else expects a blank where a
wrapped text ends a line.
"""

import hashlib
import textwrap

NARROWEST, WIDTHS = 60, 20  # characters of a line, and how many widths there are


def wrapped(document: bytes) -> bytes:
    """The document of UTF-8 text with its long lines wrapped. Its hash decides how wide its lines are."""
    width = NARROWEST + hashlib.blake2b(document, digest_size=1).digest()[0] % WIDTHS
    lines = document.decode("utf-8", "surrogateescape").split("\n")
    return "\n".join(_wrapped_line(line, width) for line in lines).encode("utf-8", "surrogateescape")


def _wrapped_line(line: str, width: int) -> str:
    if len(line) <= width:
        return line
    indent = line[: len(line) - len(line.lstrip())]
    return textwrap.fill(
        line, width, subsequent_indent=indent, break_long_words=False, break_on_hyphens=False, expand_tabs=False
    )
