"""Commands whose standard streams are closed, or know few characters; and what ends a command in one line."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from helpers.pages import ROOT

MODEL = str(ROOT / "checkpoints/04-nano-r2-s0.cpu1")
COMMAND = f"{sys.executable} -c 'import sys; from cpu1.cli import main; sys.exit(main(sys.argv[1:]))'"


def run(shell: str, **environment: str) -> subprocess.CompletedProcess[bytes]:
    """A line of the shell, in which `cpu1` is the command and $M a model."""
    line = f'cpu1() {{ {COMMAND} "$@"; }}; {shell}'
    values = {**os.environ, "M": MODEL, **environment}
    return subprocess.run(["bash", "-c", line], capture_output=True, env=values, timeout=120, check=False)


@pytest.mark.parametrize("command", ["ladder", "generate hi -m $M --max-bytes 9", "score - -m $M < $M"])
def test_a_closed_output_is_told(command: str) -> None:
    done = run(f"cpu1 {command} >&-")
    assert (done.returncode, done.stderr) == (2, b"cpu1: standard output is closed\n")


@pytest.mark.parametrize("encoding", ["ascii", "latin-1", "ascii:strict"])
@pytest.mark.parametrize(
    "command", ["ladder", "generate 'caf\u00e9 \u4e2d' --echo -m $M --max-bytes 99 --temperature 3"]
)
def test_an_output_that_knows_few_characters(command: str, encoding: str) -> None:
    done = run(f"cpu1 {command}", PYTHONIOENCODING=encoding)
    assert (done.returncode, done.stderr) == (0, b"")
    assert len(done.stdout) > 10


def test_a_name_that_is_no_text(tmp_path: Path) -> None:
    names = [os.fsdecode(name) for name in (b"n\xff.txt", b"\x80", b"a\xe4b")]
    for name in names:
        (tmp_path / name).write_bytes(b"some words")
        shell = "".join(f"\\x{byte:02x}" for byte in os.fsencode(tmp_path / name))
        done = run(f"cpu1 score $'{shell}' -m $M", PYTHONIOENCODING="utf-8:strict")
        assert done.returncode == 0, done.stderr
    (tmp_path / "model").mkdir()
    link = tmp_path / "model" / os.fsdecode(b"m\xff.cpu1")
    link.symlink_to(MODEL)
    shell = "".join(f"\\x{byte:02x}" for byte in os.fsencode(link))
    assert run(f"cpu1 generate hi -m $'{shell}' --max-bytes 9").returncode == 0


@pytest.mark.parametrize("command", ["score - -m $M", "compress - -m $M -o $PWD/x", "data -"])
def test_a_closed_input_is_empty(command: str, tmp_path: Path) -> None:
    done = run(f"cd {tmp_path}; cpu1 {command} <&-")
    assert b"Traceback" not in done.stderr
    assert done.returncode in (0, 2)


def test_without_standard_error(tmp_path: Path) -> None:
    done = run(f"cd {tmp_path}; printf hello > h; cpu1 compress h -m $M 2>&- && cpu1 decompress h.cpz -m $M -o b 2>&-")
    assert done.returncode == 0
    assert (tmp_path / "b").read_bytes() == b"hello"


@pytest.mark.parametrize(
    "command", ["decompress . -m $M -o x", "compress . -m $M", "pack . -o .", "mix . --part $M=1 --bytes 9"]
)
def test_a_folder_is_no_file(command: str, tmp_path: Path) -> None:
    done = run(f"cd {tmp_path}; cpu1 {command}")
    assert done.returncode == 2
    assert len(done.stderr.splitlines()) == 1
    assert not list(tmp_path.iterdir())


def test_ctrl_c_is_heard_while_a_long_text_is_read(tmp_path: Path) -> None:
    (tmp_path / "long").write_bytes(b"a few words of text " * 2_000_000)
    command = [sys.executable, "-c", "import sys; from cpu1.cli import main; sys.exit(main(sys.argv[1:]))"]
    for words in (["score", str(tmp_path / "long")], ["generate", "-"]):
        with (tmp_path / "long").open("rb") as text:
            child = subprocess.Popen([*command, *words, "-m", MODEL], stdin=text, stdout=subprocess.DEVNULL)
            time.sleep(3)
            assert child.poll() is None
            child.send_signal(signal.SIGINT)
            assert child.wait(20) == 130
