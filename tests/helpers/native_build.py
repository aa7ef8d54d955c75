"""Builds of the native folder by CMake, for tests that need another build than the installed one."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
CROSS = "aarch64-linux-gnu-g++"


def build(source: Path, folder: Path, targets: list[str], **options: str) -> Path:
    """Builds targets of the CMake project `source` in `folder`, which is returned; skips where there is no CMake."""
    if not shutil.which("cmake"):
        pytest.skip("no cmake")
    settings = [f"-D{name}={value}" for name, value in options.items()]
    run("cmake", "-S", source, "-B", folder, *settings)
    run("cmake", "--build", folder, "--parallel", str(os.cpu_count() or 1), "--target", *targets)
    return folder


def run(*words: str | Path) -> None:
    """Runs a command; the test fails with what it wrote if it fails."""
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{words}\n{done.stdout[-2000:]}\n{done.stderr[-4000:]}"


def build_for_aarch64(folder: Path, targets: list[str]) -> tuple[str, Path]:
    """The emulator that runs the programs, and the folder in which they are; skips where either tool is missing."""
    emulator = shutil.which("qemu-aarch64-static") or shutil.which("qemu-aarch64")
    if not emulator or not shutil.which(CROSS):
        pytest.skip(f"no {CROSS} or no qemu-aarch64")
    toolchain = ROOT / "native" / "cmake" / "toolchain-aarch64.cmake"
    build(ROOT / "native", folder, targets, CMAKE_TOOLCHAIN_FILE=str(toolchain), CPU1_OPTIMISE="-O1")
    return emulator, folder / "engine"
