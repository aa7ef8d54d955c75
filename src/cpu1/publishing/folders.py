"""Folders that appear whole, where nothing was, or instead of an older folder of the same kind."""

import os
import tempfile
from collections.abc import Callable
from pathlib import Path

from cpu1.errors import UserError
from cpu1.files import sync_folder

CLONE = {".git", ".gitattributes", ".gitignore"}  # of a folder that git cloned, which stay


def write_folder(to: Path, build: Callable[[Path], None], written_before: Callable[[Path], set[str]]) -> None:
    """Lets `build` fill a fresh folder beside `to`, which then takes its place by renaming.

    In a git clone the files take their places one by one, and what is git's stays. `written_before`: the names in `to`
    that an earlier call wrote. UserError, and nothing changes, when `to` is a file or holds anything else, or when the
    disk refuses.
    """
    to = to.resolve()
    kept = _refuse_others(to, written_before)
    try:
        to.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=to.parent, prefix=f".{to.name}.") as scratch:
            fresh, old = Path(scratch, "new"), Path(scratch, "old")
            fresh.mkdir()
            build(fresh)
            sync_folder(fresh)
            if kept:
                _update(fresh, to, written_before(to))
            else:
                _exchange(fresh, to, old)
    except OSError as error:
        raise UserError(f"{to}: cannot be written ({error.strerror or error})") from None
    sync_folder(to.parent)


def _refuse_others(to: Path, written_before: Callable[[Path], set[str]]) -> bool:
    """Whether `to` is a git clone; UserError where it holds what nobody wrote before."""
    if not to.exists():
        return False
    if not to.is_dir():
        raise UserError(f"{to} is a file; name a folder")
    here = {path.name for path in to.iterdir()}
    others = sorted(here - written_before(to) - CLONE)
    if others:
        raise UserError(f"{to} holds something else ({others[0]}); name a new folder")
    return bool(here & CLONE)


def _update(fresh: Path, to: Path, written: set[str]) -> None:
    names = {path.name for path in fresh.iterdir()}
    for name in sorted(names):
        os.replace(fresh / name, to / name)
    for name in written - names:
        (to / name).unlink(missing_ok=True)


def _exchange(fresh: Path, to: Path, old: Path) -> None:
    if to.exists():
        os.rename(to, old)
    try:
        os.rename(fresh, to)
    except OSError:
        if old.exists():
            os.rename(old, to)
        raise
