"""Small files: atomic writes, locks, JSON both ways."""

import hashlib
import json
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

from cpu1.errors import UserError


@contextmanager
def atomic(path: str | Path) -> Iterator[IO[bytes]]:
    """A file to write, which replaces `path` when the block ends.

    No reader sees half of it, not even after a crash or a full disk. When the block raises, `path` stays as it was.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(handle, "wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        os.chmod(temporary, 0o644)
        os.replace(temporary, path)
    except BaseException:
        os.unlink(temporary)
        raise
    sync_folder(path.parent)


def write_atomic(path: str | Path, data: bytes | str) -> None:
    """Replaces the content of `path` by `data`, see `atomic`."""
    with atomic(path) as file:
        file.write(data.encode() if isinstance(data, str) else data)


@contextmanager
def locked(path: Path, held: str | None = None) -> Iterator[None]:
    """Holds the lock file `path`, made with its folder, while the block runs; it ends with the process.

    Waits for another holder, or raises UserError with the message `held` if there is one. Needs filelock, which the
    runtime does without.
    """
    from filelock import FileLock, Timeout

    path.parent.mkdir(parents=True, exist_ok=True)
    lock = FileLock(path, blocking=held is None)
    try:
        lock.acquire()
    except Timeout:
        raise UserError(held) from None
    try:
        yield
    finally:
        lock.release()


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


def write_json(path: str | Path, value: Any) -> None:
    """Writes `value` as indented JSON, atomically; NaN and infinity are refused (they are not JSON)."""
    write_atomic(path, json.dumps(value, indent=1, allow_nan=False, ensure_ascii=False) + "\n")


def read_json(path: str | Path) -> Any:
    """Reads JSON; raises UserError naming the file when it is missing or damaged."""
    try:
        return json.loads(Path(path).read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise UserError(f"{path}: no such file") from None
    except (OSError, ValueError) as error:
        raise UserError(f"{path}: not readable as JSON ({error})") from None
