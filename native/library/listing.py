"""The interface of cpu1.h as a list: one declaration a line, without comments. interface.txt keeps it as promised.

python native/library/listing.py > native/library/interface.txt

A line that changes or goes away breaks programs: CPU1_MAJOR must rise. A new line raises CPU1_MINOR, and its symbol
gets into cpu1.map under that version.
"""

import re
from pathlib import Path

FOLDER = Path(__file__).resolve().parent
HEADER = FOLDER.parent / "engine" / "api" / "cpu1.h"


def declarations(header: str) -> list[str]:
    """Structs, types and functions of a C header, each with single blanks between its words."""
    code = re.sub(r"//[^\n]*|/\*.*?\*/|^#[^\n]*|\bCPU1_API\b|extern \"C\" \{|^\}$", "", header, flags=re.S | re.M)
    found = re.findall(r"[^;{}]+(?:\{[^{}]*\}[^;{}]*)?;", code)
    return [" ".join(each.split()) for each in found]


if __name__ == "__main__":
    print("\n".join(declarations(HEADER.read_text(encoding="utf-8"))))
