"""`python-stdlib`: a text that every machine with Python has, with no download and no licence question.

One document per source file of the standard library and one per documentation topic (what `help("for")`
shows). Docstrings are not given again as documents of their own: they stand in the sources, and a text
that is in the corpus twice could fall on both sides of the split. Left out are tests, bundled or retired
programs, and what the machine's own build wrote, so that equal versions give nearly equal texts; the
corpus records its hash, which tells whether two are the same. About 10 MB.
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


def documents() -> Iterator[bytes]:
    """Topics by name, then sources by path, both sorted; files that cannot be read are passed over."""
    yield from _topics()
    found = False
    for path in _sources():
        try:
            content = path.read_bytes()
        except OSError:
            continue
        found = True
        if content:
            yield content
    if not found:
        raise UserError(f"{root()}: this Python came without the sources of its library; name a text of your own")


def root() -> Path:
    """The folder of the standard library."""
    return Path(sysconfig.get_path("stdlib"))


def _topics() -> Iterator[bytes]:
    try:
        from pydoc_data.topics import topics
    except ImportError:  # some distributions package it apart
        return
    for name in sorted(topics):
        yield topics[name].encode()


def _sources() -> list[Path]:
    found = []
    for folder, subfolders, files in os.walk(root()):
        subfolders[:] = [name for name in subfolders if not _left_out(name)]
        found += [Path(folder, name) for name in files if name.endswith(".py") and not _left_out(name)]
    return sorted(found, key=lambda path: path.relative_to(root()).as_posix())


def _left_out(name: str) -> bool:
    return name in LEFT_OUT or name.startswith(BUILT_HERE)
