"""`python-stdlib`: a text that every machine with Python has, without download or licence question.

It has one document per source file of the standard library and one per documentation topic (what `help("for")` shows).
Docstrings are not documents of their own: they are in the sources, and a text that is in the corpus twice could fall
on both sides of the split. Tests, bundled or retired programs, and files written by the machine's own build are left
out, so that equal versions give nearly equal texts. The corpus records its hash, by which two can be compared. About
10 MB.
"""

import os
import platform
import sysconfig
from collections.abc import Iterator
from pathlib import Path

from cpu1.errors import UserError

SOURCE = "python-stdlib"
NAME = f"{SOURCE}-{platform.python_version()}"
LEFT_OUT = {
    *("test", "tests", "idle_test", "idlelib", "lib2to3", "turtledemo", "ensurepip"),
    *("site-packages", "dist-packages", "__pycache__", "pydoc_data"),
}
BUILT_HERE = ("_sysconfigdata", "config-")


class StdlibSource:
    """The text `python-stdlib`; see `source.Source`."""

    title = NAME

    def __init__(self, name: str, field: str) -> None:
        pass

    @staticmethod
    def claims(name: str) -> bool:
        """Whether it is `python-stdlib`."""
        return name == SOURCE

    def identity(self) -> list[object]:
        """The version of Python and where it is."""
        return [NAME, str(root())]

    def documents(self) -> Iterator[bytes]:
        """Topics sorted by name, then sources sorted by path, without files that cannot be read.

        UserError for a Python that came without its sources.
        """
        yield from _topics()
        readable = False
        for path in _sources():
            try:
                content = path.read_bytes()
            except OSError:
                continue
            readable = True
            if content:
                yield content
        if not readable:
            raise UserError(f"{root()}: this Python came without the sources of its library; name a text of your own")


def root() -> Path:
    """The folder of the standard library."""
    return Path(sysconfig.get_path("stdlib"))


def _topics() -> Iterator[bytes]:
    try:
        from pydoc_data.topics import topics
    except ImportError:  # some distributions package it separately
        return
    for name in sorted(topics):
        yield topics[name].encode()


def _sources() -> list[Path]:
    paths = []
    for folder, subfolders, files in os.walk(root()):
        subfolders[:] = [name for name in subfolders if not _left_out(name)]
        paths += [Path(folder, name) for name in files if name.endswith(".py") and not _left_out(name)]
    return sorted(paths, key=lambda path: path.relative_to(root()).as_posix())


def _left_out(name: str) -> bool:
    return name in LEFT_OUT or name.startswith(BUILT_HERE)
