"""Run folders at an address that all nodes of a cluster reach, like s3://bucket/study; fsspec opens it.

A run works in a folder of its node, which is copied to the address at every checkpoint and at the end, and from there
to another node where it has to go on. Each file appears at once and whole, under its name: lines of metrics before
the checkpoint they lead up to, and result.json last. So what lies at the address is always a run that can go on.
"""

import contextlib
import os
import secrets
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from cpu1.errors import UserError

CHECKPOINTS = "checkpoints/"
RESULT = "result.json"
BUCKETS = {"s3", "s3a", "gs", "gcs", "abfs", "abfss", "az"}  # these have no folders, and making one makes the bucket

UNKNOWN = (-1, -1)

Stamps = Mapping[str, tuple[int, int]]  # of a folder's files: size, and time of the last change in ns


class Store:
    """The folders of a study at an address. Raises UserError for one that cannot be opened and written to."""

    def __init__(self, address: str) -> None:
        self.address = address
        try:
            from fsspec.core import url_to_fs
        except ImportError:
            raise UserError(f"{address}: fsspec is not installed: pip install 'cpu1[ray]'") from None
        try:
            self.files: Any
            self.files, root = url_to_fs(address)
            self.root = root.rstrip("/")
            self._try()
        except Exception as error:  # whatever the library of an address raises
            raise UserError(f"{address}: cannot be opened ({error or type(error).__name__})") from None

    def push(self, folder: Path, name: str, before: Stamps) -> Stamps:
        """Copies what has changed since `before`, takes away what is gone; returns what `before` is the next time."""
        now = stamps(folder)
        for file in sorted((file for file in now if now[file] != before.get(file)), key=_turn):
            self._put(folder / file, f"{self.root}/{name}/{file}")
        for file in before.keys() - now.keys():
            with contextlib.suppress(FileNotFoundError):
                self.files.rm_file(f"{self.root}/{name}/{file}")
        return now

    def pull(self, name: str, folder: Path, checkpoints: bool = True) -> Stamps:
        """Copies a run's files into `folder`; nothing where the address has none. Returns what was copied."""
        copied = {}
        for file in sorted(self._listed(name), key=_turn):
            if checkpoints or not file.startswith(CHECKPOINTS):
                self._get(f"{self.root}/{name}/{file}", folder / file)
                copied[file] = _stamp(folder / file)
        return copied

    def held(self, name: str) -> Stamps:
        """The files of a run, by their names in its folder, with stamps that no file has."""
        return dict.fromkeys(self._listed(name), UNKNOWN)

    def _try(self) -> None:
        """Writes a file and removes it: what is wrong is known before anything is trained."""
        probe = f"{self.root}/.{secrets.token_hex(4)}"
        self._make(self.root)
        self.files.pipe_file(probe, b"cpu1")
        self.files.rm_file(probe)

    def _make(self, folder: str) -> None:
        protocol = self.files.protocol
        if not BUCKETS.intersection([protocol] if isinstance(protocol, str) else protocol):
            self.files.makedirs(folder, exist_ok=True)

    def _listed(self, name: str) -> list[str]:
        self.files.invalidate_cache()
        prefix = f"{self.root}/{name}/"
        found = [str(path).partition(prefix) for path in self.files.find(prefix)]
        return [file for _, within, file in found if within and _is_whole(file)]

    def _put(self, path: Path, target: str) -> None:
        """A copy that appears at once. A file that is gone meanwhile, as old checkpoints are, is passed over."""
        parent, _, last = target.rpartition("/")
        half = f"{parent}/.{last}.{secrets.token_hex(4)}"
        self._make(parent)
        try:
            self.files.put_file(str(path), half)
        except FileNotFoundError:
            return
        if "file" in self.files.protocol:
            self.files.mv(half, target)
        else:  # mv would read brackets in a folder's name as a pattern
            self.files.cp_file(half, target)
            self.files.rm_file(half)

    def _get(self, source: str, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        half = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
        self.files.get_file(source, str(half))
        os.replace(half, path)


def stamps(folder: Path) -> Stamps:
    """What a run folder holds, but for hidden files: locks, and files that are being written."""
    found = {}
    for path in folder.rglob("*"):
        file = path.relative_to(folder).as_posix()
        with contextlib.suppress(FileNotFoundError):
            if _is_whole(file) and path.is_file():
                found[file] = _stamp(path)
    return found


def _stamp(path: Path) -> tuple[int, int]:
    there = path.stat()
    return there.st_size, there.st_mtime_ns


def _is_whole(file: str) -> bool:
    return not any(part.startswith(".") for part in file.split("/"))


def _turn(file: str) -> tuple[bool, bool, str]:
    """Checkpoints behind the rest, the result last."""
    return file == RESULT, file.startswith(CHECKPOINTS), file
