"""Try the wheels in dist/ as a user would: a clean environment, no compiler on the path, then text, scores, an archive.

    python release/try_wheels.py                  # on each Python from 3.11 on that this machine has
    python release/try_wheels.py --other "qemu-aarch64-static -L ROOT ROOT/usr/bin/python3.13" --with WHEELS
    python release/try_wheels.py --other MUSL/bin/python3.11 --with WHEELS

The second form runs a Python of another processor in an emulator, the third one of another C library. ROOT is a folder
with that Python and its libraries, WHEELS one with the wheels of numpy and safetensors for it. Everything must compute
what the sources here compute.
"""

import argparse
import json
import os
import platform
import subprocess
import sys
import tempfile
import time
import zipfile
from pathlib import Path

from wheels import ROOT, version_of

CHECK = ROOT / "release" / "check_wheel.py"
ALLOWED = {"cpu1", "numpy", "safetensors", "pip", "setuptools"}


# Up to Python 3.13, a thread that comes back to an interpreter that has ended is unwound
ENDS = """
import threading, time, cpu1
model = cpu1.load()
def work():
    session = model.session()
    while True:
        session.score(b"The harbour was quiet. " * 200)
for _ in range(3):
    threading.Thread(target=work, daemon=True).start()
time.sleep(0.3)
"""
ENDINGS = 5  # as it is a matter of chance


def run(*words: str | Path, **environment: str) -> str:
    """What a command prints, in an environment of nothing but `environment`; ends with its errors if it fails."""
    keep = {name: os.environ[name] for name in os.environ if name.startswith("PIP_") or name in ("HOME", "TMPDIR")}
    done = subprocess.run(words, env={**keep, **environment}, capture_output=True, text=True, check=False)
    if done.returncode:
        sys.exit(f"{' '.join(map(str, words))}\n{done.stdout[-1000:]}{done.stderr[-3000:]}")
    return done.stdout


def wheel_for(version: tuple[int, int], machine: str, system: str = "manylinux") -> Path:
    """The wheel that a Python of this version would get. `system`: "manylinux" for glibc, or "musllinux"."""
    tag = "cp311-cp311" if version == (3, 11) else "cp312-abi3"
    found = sorted((ROOT / "dist").glob(f"cpu1-*-{tag}-{system}*_{machine}.whl"))
    if not found:
        sys.exit(f"no wheel {tag}-{system} for {machine} in dist/: run release/wheels.py")
    return found[-1]


def digests(printed: str) -> dict[str, str]:
    """Digest by arithmetic; ends if two sets of one arithmetic differ."""
    out: dict[str, str] = {}
    for isa, (arithmetic, digest) in json.loads(printed)["isas"].items():
        if out.setdefault(arithmetic, digest) != digest:
            sys.exit(f"{isa} computes something else than the sets before it: {printed}")
    return out


def compare(name: str, expected: dict[str, str], printed: str, note: str) -> None:
    """One line of result; ends where a digest is not the expected one."""
    got = digests(printed)
    if any(expected[arithmetic] != digest for arithmetic, digest in got.items()):
        sys.exit(f"{name}: {got}, but the sources here give {expected}")
    print(f"{name}: same digests on {', '.join(json.loads(printed)['isas'])}; {note}", flush=True)


def try_here(python: str | Path, expected: dict[str, str]) -> None:
    """A wheel in a clean environment of one Python of this machine."""
    version = version_of(python)
    assert version is not None
    wheel = wheel_for(version, platform.machine())
    with tempfile.TemporaryDirectory() as folder:
        run(python, "-m", "venv", folder, PATH=os.defpath)
        bin_ = Path(folder) / "bin"
        start = time.monotonic()
        run(bin_ / "python", "-m", "pip", "install", "--quiet", "--no-cache-dir", wheel, PATH=str(bin_))
        installed = time.monotonic() - start
        text = run(bin_ / "cpu1", "generate", "Once upon a time", "--max-bytes", "40", PATH=str(bin_))
        first = time.monotonic() - start
        listed = run(bin_ / "python", "-m", "pip", "list", "--format", "json", PATH=str(bin_))
        extra = {package["name"] for package in json.loads(listed)} - ALLOWED
        if extra or not text.strip():
            sys.exit(f"{wheel.name}: installs also {', '.join(extra)}" if extra else f"{wheel.name}: wrote no text")
        printed = run(bin_ / "python", CHECK, PATH=str(bin_))
        for _ in range(ENDINGS):
            run(bin_ / "python", "-c", ENDS, PATH=str(bin_))
    note = f"installed in {installed:.1f} s, first text after {first:.1f} s; {wheel.name}"
    compare(f"Python {version[0]}.{version[1]}", expected, printed, note)


ASKED = """
import json, platform, sys, sysconfig
system = "musllinux" if "musl" in sysconfig.get_config_var("SOABI") else "manylinux"
print(json.dumps([*sys.version_info[:2], platform.machine(), system]))
"""


def try_other(command: str, dependencies: Path, expected: dict[str, str]) -> None:
    """A wheel on a Python of another processor or C library, unpacked with what it needs."""
    words = command.split()
    major, minor, machine, system = json.loads(run(*words, "-c", ASKED, PATH=os.environ["PATH"]))
    wheel = wheel_for((major, minor), machine, system)
    with tempfile.TemporaryDirectory() as folder:
        for path in [wheel, *dependencies.glob("*.whl")]:
            zipfile.ZipFile(path).extractall(folder)
        printed = run(*words, CHECK, PATH=os.environ["PATH"], PYTHONPATH=folder)
    compare(f"Python {major}.{minor} on {machine}, {system}", expected, printed, wheel.name)


def main() -> None:
    """Try what the command line asks for."""
    parser = argparse.ArgumentParser(description="Try the wheels in dist/ in clean environments.")
    parser.add_argument("pythons", nargs="*", help="interpreters (default: all from 3.11 on that are found)")
    parser.add_argument("--other", metavar="COMMAND", help="a Python of another processor or C library")
    parser.add_argument("--with", dest="dependencies", type=Path, metavar="FOLDER", help="wheels that it needs")
    args = parser.parse_args()
    expected = digests(subprocess.check_output([sys.executable, CHECK], text=True))
    if args.other:
        if not args.dependencies:
            parser.error("--other needs --with")
        return try_other(args.other, args.dependencies, expected)
    here: list[str | Path] = [
        *(f"python3.{minor}" for minor in range(11, 16)),
        *Path.home().glob(".pyenv/versions/3.*/bin/python"),
    ]
    pythons = args.pythons or here
    versions = {version: python for python in pythons if (version := version_of(python)) and version >= (3, 11)}
    for _, python in sorted(versions.items()):
        try_here(python, expected)


if __name__ == "__main__":
    main()
