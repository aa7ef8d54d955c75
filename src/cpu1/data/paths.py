"""Text in a file, in a folder, or in the files of a glob."""

import difflib
import glob
import os
import warnings
from collections.abc import Iterator
from pathlib import Path

from cpu1.data.formats import file_documents, is_binary
from cpu1.errors import UserError


class PathSource:
    """Files by path; see `source.Source`. In folders and globs, files that look binary are skipped with a warning."""

    def __init__(self, name: str, field: str) -> None:
        self.name, self.field = name, field

    @staticmethod
    def claims(name: str) -> bool:
        """Any name may be a path, so this kind is asked last."""
        return True

    @property
    def title(self) -> str:
        """The name of the file or folder, without suffixes."""
        path = Path(os.path.expanduser(self.name)).resolve()
        return path.name.split(".")[0] if path.is_file() else path.name

    def identity(self) -> list[object]:
        """Paths, sizes and modification times."""
        return [self.field, *stamps(find_files(self.name))]

    def documents(self) -> Iterator[bytes]:
        """The documents of all files, sorted by path."""
        files = find_files(self.name)
        named = os.path.isfile(os.path.expanduser(self.name))
        skipped = []
        for path in files:
            if not named and is_binary(path):
                skipped.append(path)
            else:
                yield from file_documents(path, self.field)
        if skipped:
            count, first = len(skipped), skipped[0]
            warnings.warn(f"{self.name}: {count} binary files passed over, such as {first}", stacklevel=2)


def find_files(source: str) -> list[Path]:
    """The files of a path or glob, sorted. UserError with similar names when there are none."""
    if not source:
        raise UserError("the name of the text is empty")
    path = Path(os.path.expanduser(source))
    if os.path.isdir(path):
        files = _walk(path)
        if not files:
            raise UserError(f"{source}: a folder without files (hidden ones are passed over)")
        return files
    if os.path.isfile(path):
        return [path]
    if os.path.exists(path):
        raise UserError(f"{source}: neither a file nor a folder; pipe it in and name '-' as the text")
    files = [Path(name) for name in sorted(glob.glob(str(path), recursive=True)) if os.path.isfile(name)]
    if not files:
        raise UserError(f"{source!r}: no such file or folder{_suggestion(path)}")
    return files


def stamps(files: list[Path]) -> Iterator[tuple[str, int, int]]:
    """What shows whether files have changed, of each: path, size in bytes, modification time in nanoseconds.

    UserError for one that cannot be read.
    """
    for path in files:
        try:
            status = path.stat()
        except OSError as error:
            raise UserError(f"{path}: cannot be read ({error.strerror})") from None
        yield str(path.resolve()), status.st_size, status.st_mtime_ns


def _walk(top: Path) -> list[Path]:
    def refuse(error: OSError) -> None:
        raise UserError(f"{error.filename}: cannot be read ({error.strerror})")

    paths = []
    for folder, subfolders, files in os.walk(top, onerror=refuse):
        subfolders[:] = [name for name in subfolders if not name.startswith(".")]
        visible = (Path(folder, name) for name in files if not name.startswith("."))
        paths += [path for path in visible if os.path.isfile(path)]
    return sorted(paths)


def _suggestion(path: Path) -> str:
    try:
        names = os.listdir(path.parent)
    except (OSError, ValueError):
        return f", nor a folder {path.parent}"
    near = difflib.get_close_matches(path.name, names, n=3)
    return "; did you mean " + " or ".join(str(path.parent / name) for name in near) + "?" if near else ""
