"""Names of what is written next to an output."""

from pathlib import Path

SUFFIX = ".adapting"


def state_folder(out: Path) -> Path:
    """The folder in which training is kept until it is done."""
    return out.with_name(out.name + SUFFIX)
