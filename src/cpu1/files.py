"""The one writer of files, which are whole or not there; locks; JSON both ways."""

import errno
import hashlib
import json
import math
import os
import re
import secrets
import shutil
import stat
import time
import warnings
from collections.abc import Collection, Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, Any

from cpu1.errors import UserError

try:
    import fcntl
except ImportError:  # Windows has no such locks: what killed processes leave stays there
    fcntl = None  # type: ignore[assignment]

NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
LONGEST_NAME = 240  # bytes, of 255, so that a few can be added
UNCLAIMED_SECONDS = 10  # after which what nobody holds is taken for left over


@contextmanager
def atomic(path: str | Path) -> Iterator[IO[bytes]]:
    """A file to write, which replaces `path` when the block ends.

    No reader sees half of it, not even after a crash or a full disk. When the block raises, `path` stays as it was. A
    link stays a link, and what it leads to is replaced. The new file has the mode of the old one, or that of any new
    file of this process. Raises UserError naming `path` where it cannot be written.
    """
    path = Path(path)
    with _told(path):
        target = _target(path)
        handle, temporary = _create(target)
    try:
        with _told(path, NO_ROOM), os.fdopen(handle, "wb") as file:
            hold(file.fileno())
            yield file
            file.flush()
            os.fsync(file.fileno())
        with _told(path):
            os.replace(temporary, target)
    except BaseException:
        os.unlink(temporary)
        raise
    sync_folder(target.parent)


def _target(path: Path) -> Path:
    """The file that `path` leads to, its folder made. UserError for what no file can replace."""
    if path.is_dir():
        raise UserError(f"{path}: is a folder; name a file")
    target = Path(os.path.realpath(path)) if path.is_symlink() else path
    if target.is_symlink():
        raise UserError(f"{path}: is a link that leads to itself; name another file")
    if target.exists() and not target.is_file():
        raise UserError(f"{path}: is no ordinary file; name another")
    target.parent.mkdir(parents=True, exist_ok=True)
    return target


def _create(target: Path) -> tuple[int, Path]:
    """A new hidden file beside `target`, open for writing, with its mode; its name is no longer than names may be."""
    name = os.fsdecode(os.fsencode(target.name)[:LONGEST_NAME])
    sweep(target.parent, name)
    temporary = target.with_name(f".{name}.{secrets.token_hex(4)}")
    mode = stat.S_IMODE(target.stat().st_mode) if target.exists() else None
    handle = os.open(temporary, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o666 if mode is None else mode)
    if mode is not None:
        os.fchmod(handle, mode)  # the umask is for new files
    return handle, temporary


def hold(handle: int) -> None:
    """Marks an open file or folder as in use by this process until it is closed; `sweep` leaves it alone."""
    if fcntl is not None:
        with suppress(OSError):  # a file system without locks
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)


def sweep(folder: Path, name: str) -> None:
    """Removes the hidden halves of the file or folder `name` that killed processes have left; those in use stay."""
    if fcntl is None:
        return
    half = re.compile(rf"\.{re.escape(name)}\.[0-9a-z_]{{8}}")
    with os.scandir(folder) as entries:
        left = [Path(entry.path) for entry in entries if half.fullmatch(entry.name)]
    for path in left:
        with suppress(OSError):
            if not path.is_symlink() and path.stat().st_mtime < time.time() - UNCLAIMED_SECONDS and _is_free(path):
                shutil.rmtree(path) if path.is_dir() else path.unlink()


def _is_free(path: Path) -> bool:
    """Whether no process holds a file or folder. OSError where it is held or cannot be asked."""
    handle = os.open(path, os.O_RDONLY)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    finally:
        os.close(handle)
    return True


@contextmanager
def _told(path: Path, kinds: Collection[int] | None = None) -> Iterator[None]:
    """Errors of the system (of these kinds) as UserError naming `path`."""
    try:
        yield
    except OSError as error:
        if kinds is not None and error.errno not in kinds:
            raise
        remedy = "; free some room, or name another place" if error.errno in NO_ROOM else ""
        raise UserError(f"{path}: cannot be written ({error.strerror}){remedy}") from None


def write_atomic(path: str | Path, data: bytes | str) -> None:
    """Replaces the content of `path` by `data`, see `atomic`.

    What UTF-8 cannot hold of a text, as in names of files that are no text, is written as JSON escapes it: `\\udcff`.
    """
    with atomic(path) as file:
        file.write(data.encode("utf-8", "backslashreplace") if isinstance(data, str) else data)


@contextmanager
def spelled(path: Path) -> Iterator[str]:
    """A name of the file `path` that is text, for libraries that open no others. OSError when it cannot be read."""
    if os.fsencode(path) == str(path).encode("utf-8", "replace"):
        yield str(path)
        return
    handle = os.open(path, os.O_RDONLY)
    try:
        yield f"/dev/fd/{handle}"
    finally:
        os.close(handle)


@contextmanager
def locked(path: Path, held: str | None = None) -> Iterator[None]:
    """Holds the lock file `path`, made with its folder, while the block runs; it ends with the process.

    Waits for another holder, or raises UserError with the message `held` if there is one. Warns where the file system
    has no locks. Needs filelock, which the runtime does without.
    """
    from filelock import FileLock, Timeout

    path.parent.mkdir(parents=True, exist_ok=True)
    lock = FileLock(path, blocking=held is None)
    try:
        lock.acquire()
    except Timeout:
        raise UserError(held) from None
    except NotImplementedError:
        warnings.warn(f"{path.parent}: its file system has no locks; let only one process work there", stacklevel=3)
    try:
        yield
    finally:
        lock.release()


def is_locked(path: Path) -> bool:
    """Whether another process holds the lock file `path`; False where there is none."""
    if not path.exists():
        return False
    try:
        with locked(path, held="held"):
            return False
    except UserError:
        return True


def sync_folder(folder: Path) -> None:
    """Makes a rename inside `folder` survive a power cut (where the platform lets a folder be opened)."""
    try:
        handle = os.open(folder, os.O_RDONLY)
    except OSError:
        return
    try:
        os.fsync(handle)
    except OSError:
        pass
    finally:
        os.close(handle)


def digest(path: Path) -> bytes:
    """SHA-256 of a file's content, read piece by piece; raises UserError naming the file when it cannot be read."""
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").digest()
    except OSError as error:
        raise UserError(f"{path}: not readable ({error.strerror})") from None


def apart(out: Path, inputs: Iterable[Path | int]) -> None:
    """UserError where `out` is one of the `inputs` (paths or open files): what is read is never written over.

    Other names of a file and links to it are known. Asked before any work is done.
    """
    try:
        there = os.stat(out)
    except (OSError, ValueError):
        return
    if not stat.S_ISREG(there.st_mode) and not stat.S_ISDIR(there.st_mode):
        return
    for each in inputs:
        with suppress(OSError, ValueError):  # an input that is not there is its reader's concern
            if os.path.samestat(there, os.stat(each)):
                name = "standard input" if isinstance(each, int) else each
                raise UserError(f"{out}: is what is read here ({name}), which would be lost; name another output")


def write_json(path: str | Path, value: Any) -> None:
    """Writes `value` as indented JSON, atomically; NaN and infinity are refused (they are not JSON)."""
    write_atomic(path, json.dumps(value, indent=1, allow_nan=False, ensure_ascii=False) + "\n")


def strict_json(text: str | bytes) -> Any:
    """JSON as the standard has it, in UTF-8 where it is bytes.

    Raises ValueError for NaN, for a number beyond those of 64 bits, for a name twice in an object, for endless depth.
    """
    try:
        if isinstance(text, bytes):
            text = text.decode()
        return json.loads(text, parse_constant=_refuse, parse_float=_finite, object_pairs_hook=_object)
    except RecursionError:
        raise ValueError("JSON is nested too deeply") from None
    except json.JSONDecodeError as error:
        raise ValueError(f"not JSON ({error})") from None


def _refuse(constant: str) -> None:
    raise ValueError(f"{constant} is not JSON")


def _finite(text: str) -> float:
    value = float(text)
    if math.isinf(value):
        raise ValueError(f"{text[:20]} is too large for a number")
    return value


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        names = [name for name, _ in pairs]
        raise ValueError(f"{next(n for n in names if names.count(n) > 1)!r} is twice in one object")
    return found


def read_json(path: str | Path) -> Any:
    """Reads JSON; raises UserError naming the file when it is missing or damaged."""
    try:
        return strict_json(Path(path).read_bytes())
    except FileNotFoundError:
        raise UserError(f"{path}: no such file") from None
    except (OSError, ValueError) as error:
        raise UserError(f"{path}: not readable as JSON ({error})") from None
