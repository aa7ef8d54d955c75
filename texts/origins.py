"""Where texts come from: packages of Debian and PyPI, and repositories on GitHub, each at one version.

An origin is written as in sources.toml:

    debian:git-doc=1:2.39.5-0+deb12u3     needs apt and dpkg of Debian 12
    pypi:vega_datasets==0.9.0             needs pip
    github:lua/lua@53b41d0c...            needs git; a folder of mirrors may hold OWNER+NAME/repo, a bare repository

What was downloaded is kept in a folder and used again.
"""

import shutil
import subprocess
import sys
import zipfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fnmatch import fnmatch
from pathlib import Path, PurePosixPath

from cpu1.errors import UserError

# The author's address becomes one of example.org: a model should not learn where people can be reached.
MAIL = "%x00From %h %ad%nFrom: %an <%al@example.org>%nDate: %aD%nSubject: [PATCH] %s%n%n%b"


@dataclass(frozen=True)
class Places:
    """Where downloads are kept, and where mirrors of repositories are, if anywhere."""

    cache: Path
    mirrors: Path | None = None


class Folder:
    """The files of a package that was unpacked."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def names(self) -> list[str]:
        """Paths of all files below the root."""
        return sorted(
            str(path.relative_to(self.root).as_posix())
            for path in self.root.rglob("*")
            if path.is_file() and not path.is_symlink()
        )

    def read(self, names: Sequence[str]) -> Iterator[bytes]:
        """The content of each file."""
        for name in names:
            yield (self.root / name).read_bytes()


class Repository:
    """The files and the history of a commit in a bare repository."""

    def __init__(self, folder: Path, commit: str) -> None:
        self.folder, self.commit = folder, commit

    def names(self) -> list[str]:
        """Paths of all files in the commit."""
        listed = self._git("ls-tree", "-r", "-z", "--name-only", self.commit)
        return sorted(name for name in listed.decode("utf-8", "replace").split("\0") if name)

    def read(self, names: Sequence[str]) -> Iterator[bytes]:
        """The content of each file; those that the repository lacks are left out."""
        asked = "".join(f"{self.commit}:{name}\n" for name in names).encode()
        words = ["git", f"--git-dir={self.folder}", "cat-file", "--batch", "--buffer"]
        found = subprocess.run(words, input=asked, capture_output=True, check=True).stdout
        place = 0
        for _ in names:
            end = found.index(b"\n", place)
            head, place = found[place:end], end + 1
            if not head.endswith(b" missing"):
                size = int(head.split()[-1])
                yield found[place : place + size]
                place += size + 1

    def mails(self) -> list[bytes]:
        """What the commits say, oldest first, each as a mail."""
        shown = self._git("log", "--reverse", "--no-merges", "--date=iso", f"--format={MAIL}", self.commit)
        return [mail.strip(b"\n") for mail in shown.split(b"\0") if mail.strip()]

    def _git(self, *words: str) -> bytes:
        command = ["git", f"--git-dir={self.folder}", "-c", "core.quotepath=off", *words]
        return subprocess.run(command, capture_output=True, check=True).stdout


def opened(origin: str, places: Places) -> Folder | Repository:
    """The origin, downloaded if need be. UserError where it cannot be had."""
    kind, _, name = origin.partition(":")
    if kind == "github":
        repository, _, commit = name.partition("@")
        return Repository(_repository(repository, places), commit)
    package = places.cache / origin.replace("/", "_")
    if not package.exists():
        package.parent.mkdir(parents=True, exist_ok=True)
        unpacked = package.with_name(f"{package.name}.part")
        shutil.rmtree(unpacked, ignore_errors=True)
        unpacked.mkdir()
        {"debian": _debian, "pypi": _pypi}[kind](name, unpacked)
        unpacked.rename(package)
    return Folder(package)


def chosen(names: Sequence[str], paths: Sequence[str], left_out: Sequence[str]) -> list[str]:
    """Names that match one of the patterns and none of those left out. `**/` matches folders, also none."""

    def fits(name: str, pattern: str) -> bool:
        if "**/" in pattern:
            root, _, last = pattern.partition("**/")
            return name.startswith(root) and fnmatch(PurePosixPath(name).name, last)
        return fnmatch(name, pattern) and name.count("/") == pattern.count("/")

    return [
        name
        for name in names
        if any(fits(name, each) for each in paths) and not any(fnmatch(name, each) for each in left_out)
    ]


def _debian(package: str, to: Path) -> None:
    _run(["apt-get", "download", "-qq", package], to, f"{package}: old versions are on snapshot.debian.org")
    for found in to.glob("*.deb"):
        _run(["dpkg-deb", "-x", found.name, "."], to, package)
        found.unlink()


def _pypi(package: str, to: Path) -> None:
    words = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--only-binary", ":all:", package]
    _run(words, to, package)
    for found in to.glob("*.whl"):
        zipfile.ZipFile(found).extractall(to)
        found.unlink()


def _repository(name: str, places: Places) -> Path:
    owner, _, project = name.partition("/")
    mirror = places.mirrors / f"{owner}+{project}" / "repo" if places.mirrors else None
    if mirror and mirror.exists():
        return mirror
    folder = places.cache / f"{owner}+{project}.git"
    if not folder.exists():
        part = folder.with_name(f"{folder.name}.part")
        shutil.rmtree(part, ignore_errors=True)
        folder.parent.mkdir(parents=True, exist_ok=True)
        _run(["git", "clone", "--quiet", "--bare", f"https://github.com/{name}", str(part)], folder.parent, name)
        part.rename(folder)
    return folder


def _run(words: Sequence[str], where: Path, what: str) -> None:
    try:
        done = subprocess.run(words, cwd=where, capture_output=True, text=True, check=False)
    except FileNotFoundError:
        raise UserError(f"{what}: needs the program {words[0]}") from None
    if done.returncode:
        lines = done.stderr.strip().splitlines()
        raise UserError(f"{what}: {lines[-1] if lines else f'{words[0]} failed'}")
