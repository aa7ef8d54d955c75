"""Folders that are built once: complete or absent, whoever else builds them at the same time."""

import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar

from cpu1.errors import UserError
from cpu1.files import hold, locked, sweep, sync_folder

T = TypeVar("T")


def default_cache() -> Path:
    """The folder for caches: `$CPU1_CACHE`, else `$XDG_CACHE_HOME/cpu1`, else `~/.cache/cpu1`."""
    if chosen := os.environ.get("CPU1_CACHE"):
        return Path(chosen).expanduser()
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "cpu1"


def cached(target: Path, open_: Callable[[Path], T], build: Callable[[Path], None]) -> T:
    """Returns `open_(target)`. Where that raises UserError, `build` first fills a new folder, which replaces `target`.

    The folder is built next to `target` and renamed, so nobody sees half of it. Builders do not wait for each other:
    the first to finish wins and the others drop theirs. A damaged `target` is replaced. UserError when the folder
    cannot be written.
    """
    try:
        return open_(target)
    except UserError:
        pass
    with writing(target):
        target.parent.mkdir(parents=True, exist_ok=True)
        sweep(target.parent, target.name)
        with tempfile.TemporaryDirectory(dir=target.parent, prefix=f".{target.name}.") as scratch, _held(scratch):
            fresh = Path(scratch, target.name)
            fresh.mkdir()
            build(fresh)
            sync_folder(fresh)
            with locked(target.parent / f".{target.name}.lock"):
                return _install(fresh, target, open_)


@contextmanager
def _held(folder: str) -> Iterator[None]:
    handle = os.open(folder, os.O_RDONLY)
    try:
        hold(handle)
        yield
    finally:
        os.close(handle)


@contextmanager
def writing(path: Path) -> Iterator[None]:
    """Turns a full disk or a forbidden folder into a UserError that names `path`."""
    try:
        yield
    except OSError as error:
        reason = error.strerror or str(error)
        raise UserError(f"{path}: cannot be written ({reason}); set CPU1_CACHE to another folder") from None


def _install(fresh: Path, target: Path, open_: Callable[[Path], T]) -> T:
    try:
        return open_(target)  # another builder was faster
    except UserError:
        shutil.rmtree(target, ignore_errors=True)
        os.rename(fresh, target)
        sync_folder(target.parent)
        return open_(target)
