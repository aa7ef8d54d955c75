"""Which model runs where none is named."""

import os
from pathlib import Path

from cpu1.errors import UserError

VARIABLE = "CPU1_MODEL"
FILE = "default.cpu1"
PACKAGE = Path(__file__).parent.parent


def default_model() -> Path:
    """The first of: what CPU1_MODEL names; the file that was installed with the package; `checkpoints/default.cpu1`
    of the source tree, where the package is used from one.

    UserError where there is none, or where the variable names nothing that exists.
    """
    if named := os.environ.get(VARIABLE):
        if not os.path.exists(named):
            raise UserError(f"{VARIABLE} is {named!r}, which does not exist")
        return Path(named)
    places = [PACKAGE / FILE]
    if PACKAGE.parent.name == "src":
        places.append(PACKAGE.parent.parent / "checkpoints" / FILE)
    for place in places:
        if place.is_file():
            return place
    raise UserError(f"no model is named, and none is installed with cpu1: name a file (-m FILE), or set {VARIABLE}")
