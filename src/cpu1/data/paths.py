"""Text in a file, in a folder, or in the files of a glob."""

import difflib
import fnmatch
import glob
import os
import warnings
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from cpu1.data.formats import file_documents, has_records, is_binary, oddity
from cpu1.errors import UserError

FIELD = "text"  # of a record, where nothing else is asked for


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
        if named and (about := oddity(files[0])):
            warnings.warn(f"{self.name}: {about}", stacklevel=2)
        if self.field != FIELD and not any(map(has_records, files)):
            warnings.warn(f"{self.name}: plain text has no field {self.field!r}; all of it is read", stacklevel=2)
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
    files = _once(_matches(str(path)))
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


def _matches(pattern: str) -> Iterable[Path]:
    """The files of a glob. `**` follows each link once: the standard library's goes around in loops of links."""
    before, star, _ = pattern.partition("**")
    if not star:
        return (Path(name) for name in glob.glob(pattern) if os.path.isfile(name))
    top = Path(os.path.dirname(before))
    wanted = Path(pattern).parts
    return (path for path in _walk(top) if _fits(path.parts, wanted)) if top.is_dir() else ()


def _fits(names: Sequence[str], wanted: Sequence[str]) -> bool:
    """Whether a path is one of a glob, name by name; `**` stands for any number of folders."""
    if not wanted:
        return not names
    if wanted[0] == "**":
        return any(_fits(names[count:], wanted[1:]) for count in range(len(names) + 1)) or wanted[1:] == ()
    return bool(names) and fnmatch.fnmatchcase(names[0], wanted[0]) and _fits(names[1:], wanted[1:])


def _walk(top: Path) -> list[Path]:
    """The files below a folder without hidden names, sorted. Links are followed, and nothing is taken twice."""

    def refuse(error: OSError) -> None:
        raise UserError(f"{error.filename}: cannot be read ({error.strerror})")

    paths: list[Path] = []
    dangling: list[Path] = []
    around: list[Path] = []
    known = {os.path.realpath(top)}
    waiting = [top]  # folders, those behind links after all that lie in the tree
    while waiting:
        links = []
        for folder, subfolders, files in os.walk(waiting.pop(0), onerror=refuse):
            subfolders[:] = sorted(name for name in subfolders if not name.startswith("."))
            links += [Path(folder, name) for name in subfolders if os.path.islink(os.path.join(folder, name))]
            known.update(os.path.realpath(os.path.join(folder, name)) for name in subfolders if _lies(folder, name))
            visible = [Path(folder, name) for name in files if not name.startswith(".")]
            paths += [path for path in visible if os.path.isfile(path)]
            dangling += [path for path in visible if path.is_symlink() and not os.path.exists(path)]
        for link in sorted(links):
            target = os.path.realpath(link)
            if target not in known and not _encloses(target, top):
                known.add(target)
                waiting.append(link)
            elif target not in known:
                around.append(link)
    for kind, links in (("nothing", dangling), ("a folder around it", around)):
        if links:
            more = f" and {len(links) - 1} more" if links[1:] else ""
            warnings.warn(f"{top}: links to {kind} are passed over: {links[0]}{more}", stacklevel=2)
    return _once(paths)


def _encloses(folder: str, inner: Path) -> bool:
    return os.path.commonpath((folder, os.path.realpath(inner))) == folder


def _lies(folder: str, name: str) -> bool:
    return not os.path.islink(os.path.join(folder, name))


def _once(paths: Iterable[Path]) -> list[Path]:
    """The paths, sorted, without links to files that are there themselves or behind an earlier link."""
    found = sorted(paths)
    taken: dict[str, Path] = {}
    for path in sorted(found, key=os.path.islink):
        taken.setdefault(os.path.realpath(path), path)
    return sorted(taken.values())


def _suggestion(path: Path) -> str:
    try:
        names = os.listdir(path.parent)
    except (OSError, ValueError):
        return f", nor a folder {path.parent}"
    near = difflib.get_close_matches(path.name, names, n=3)
    return "; did you mean " + " or ".join(str(path.parent / name) for name in near) + "?" if near else ""
