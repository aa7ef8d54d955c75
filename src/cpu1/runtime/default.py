"""The model that runs when none is named."""

import os
from pathlib import Path

from cpu1.errors import UserError

VARIABLE = "CPU1_MODEL"
FILE = "default.cpu1"
PACKAGE = Path(__file__).parent.parent


def default_model() -> Path:
    """The path of the first of: the file in CPU1_MODEL; the file installed with the package; in a source tree,
    `checkpoints/default.cpu1`.

    UserError where there is none of them, or when the variable's file does not exist.
    """
    if named := os.environ.get(VARIABLE):
        path = Path(named).expanduser()  # unit files and .env files leave the tilde
        if not path.exists():
            raise UserError(f"{VARIABLE} is {named!r}, which does not exist")
        return path
    candidates = [PACKAGE / FILE]
    if PACKAGE.parent.name == "src":
        candidates.append(PACKAGE.parent.parent / "checkpoints" / FILE)
    for candidate in candidates:
        if candidate.is_file():
            return candidate
    raise UserError(f"no model is named, and none is installed with cpu1: name a file (-m FILE), or set {VARIABLE}")
