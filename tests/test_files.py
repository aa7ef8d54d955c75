"""The one writer of files: whole or not there, with the mode that belongs, through links, under any name."""

import errno
import os
import signal
import stat
import subprocess
import sys
import time
from pathlib import Path

import pytest

from cpu1.errors import UserError
from cpu1.files import UNCLAIMED_SECONDS, atomic, write_atomic, write_json


@pytest.mark.parametrize("umask", [0o022, 0o077, 0o002, 0o027])
def test_a_new_file_has_the_mode_of_any_new_file(tmp_path: Path, umask: int) -> None:
    before = os.umask(umask)
    try:
        write_atomic(tmp_path / "ours", b"x")
        (tmp_path / "plain").write_bytes(b"x")
    finally:
        os.umask(before)
    assert (tmp_path / "ours").stat().st_mode == (tmp_path / "plain").stat().st_mode


@pytest.mark.parametrize("mode", [0o600, 0o644, 0o664, 0o640])
def test_a_replaced_file_keeps_its_mode(tmp_path: Path, mode: int) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"old")
    path.chmod(mode)
    write_atomic(path, b"new")
    assert (path.read_bytes(), stat.S_IMODE(path.stat().st_mode)) == (b"new", mode)


@pytest.mark.parametrize("name", ["字" * 84, "é" * 127, "x" * 255, "\udcff" * 250])
def test_any_name_that_the_system_takes(tmp_path: Path, name: str) -> None:
    write_atomic(tmp_path / name, b"x")
    assert [path.name for path in tmp_path.iterdir()] == [name]


def test_a_link_stays_one(tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    target = tmp_path / "folder/target"
    target.write_bytes(b"old")
    (tmp_path / "link").symlink_to("folder/target")
    (tmp_path / "second").symlink_to("link")
    (tmp_path / "dangling").symlink_to("folder/new")
    for link, file in (("link", target), ("second", target), ("dangling", tmp_path / "folder/new")):
        write_atomic(tmp_path / link, link)
        assert (tmp_path / link).is_symlink()
        assert file.read_text() == link
    assert {path.name for path in (tmp_path / "folder").iterdir()} == {"target", "new"}


def test_what_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    (tmp_path / "file").write_bytes(b"x")
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "loop").symlink_to("loop")
    cases = {"folder": "is a folder", "pipe": "is no ordinary file", "file/inside": "cannot be written"}
    for name, words in {**cases, "loop": "leads to itself", "x" * 300: "cannot be written"}.items():
        with pytest.raises(UserError, match=words) as raised:
            write_json(tmp_path / name, {})
        assert str(raised.value).startswith(f"{tmp_path / name}: ")
    assert {path.name for path in tmp_path.iterdir()} == {"folder", "file", "pipe", "loop"}


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT, errno.EFBIG])
def test_a_full_disk_leaves_the_old_file(tmp_path: Path, number: int) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"old")

    def write_half() -> None:
        with atomic(path) as file:
            file.write(b"half")
            raise OSError(number, os.strerror(number))

    with pytest.raises(UserError, match=r"file: cannot be written .*; free some room"):
        write_half()
    assert [(each.name, each.read_bytes()) for each in tmp_path.iterdir()] == [("file", b"old")]


def test_faults_of_others_pass_through(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError), atomic(tmp_path / "file"):
        (tmp_path / "input").read_bytes()
    assert not list(tmp_path.iterdir())


KILLED = """
import os, signal, sys
from cpu1.files import atomic
kept = [atomic(name) for name in sys.argv[1:]]
for each in kept:
    each.__enter__().write(b"half")
print("written", flush=True)
signal.pause()
"""


def test_what_killed_processes_left_is_removed_and_nothing_else(tmp_path: Path) -> None:
    """While a process that writes files lives, its halves stay; once it is killed, the next writers remove them."""
    names = ["file", "with space.txt", "." + "x" * 200]
    (tmp_path / ".file.mine").write_bytes(b"x")  # not of the form that a half has
    (tmp_path / ".other.0a1b2c3d").write_bytes(b"x")  # of another file
    with subprocess.Popen([sys.executable, "-c", KILLED, *names], cwd=tmp_path, stdout=subprocess.PIPE) as process:
        assert process.stdout
        assert process.stdout.readline()
        age(tmp_path)
        for name in names:
            write_atomic(tmp_path / name, b"whole")
        assert len(halves(tmp_path)) == 3 + 2
        process.send_signal(signal.SIGKILL)
    for name in names:
        write_atomic(tmp_path / name, b"whole")
    assert halves(tmp_path) == {".file.mine", ".other.0a1b2c3d"}
    assert all((tmp_path / name).read_bytes() == b"whole" for name in names)


def halves(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()} - {"file", "with space.txt", "." + "x" * 200}


def age(folder: Path) -> None:
    before = time.time() - 2 * UNCLAIMED_SECONDS
    for path in folder.iterdir():
        os.utime(path, (before, before))
