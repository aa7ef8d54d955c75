"""The ingredient of the README: its code, its rung, and where both go."""

import re

from helpers.pages import README, blocks, read

CODE = next(block for block in blocks(read(README), "python") if "@ingredient" in block)
LINE = re.search(r"^    (rung\(.*\))$", read(README), re.MULTILINE)
STEPS = re.search(r"Save it as `(?P<file>\w+\.py)` in `(?P<folder>[\w/]+)/`, import `(?P<name>\w+)`", read(README))
