"""Pages with tables: each is between the lines `<!-- table NAME -->` and `<!-- /table -->`."""

import re
from collections.abc import Mapping
from pathlib import Path

from cpu1.errors import UserError
from tables.table import Maker

BLOCK = re.compile(r"(<!-- table ([\w-]+) -->\n).*?(<!-- /table -->)", re.DOTALL)


def fill(page: Path, makers: Mapping[str, Maker]) -> str:
    """The page's text with its tables as the results give them; nothing else changes.

    UserError for a table that nobody has registered.
    """

    def block(found: re.Match[str]) -> str:
        name = found[2]
        if name not in makers:
            raise UserError(f"{page}: no table {name!r}; known: {', '.join(sorted(makers))}")
        return found[1] + makers[name]().markdown() + found[3]

    return BLOCK.sub(block, page.read_text(encoding="utf-8"))
