"""Builds the native parts on a machine that has CMake, a C++ compiler and nanobind, but where nothing is installed.

    python bench/gpu_native.py WORK

Training on a GPU needs them only for runs with a memory of the document: plain Python would take days to compute what
the memories say of a large text. The modules go to src/cpu1, where git ignores them. Exit status 0: they are there;
1: they are not, and the last line says why.
"""

import os
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path

import gpu_here as here

TOOLS = ("cmake", "c++")


def main() -> int:
    here.end_with_parent()
    from cpu1.ops.native import native_available

    if native_available():
        print("the native parts are here")
        return 0
    if missing := [tool for tool in TOOLS if not shutil.which(tool)]:
        print(f"not built, for want of {' and '.join(missing)}")
        return 1
    modules = build(Path(sys.argv[1]).resolve() / "native")
    for path in modules:
        shutil.copyfile(path, here.ROOT / "src/cpu1" / path.name)
    print(f"built: {', '.join(path.name for path in modules)}")
    return 0


def build(folder: Path) -> list[Path]:
    """The Python modules, built in `folder`. CalledProcessError where a tool fails, ImportError without nanobind."""
    import nanobind  # type: ignore[import-untyped]

    generator = ["-G", "Ninja"] if shutil.which("ninja") else []
    configure = ["cmake", "-S", str(here.ROOT), "-B", str(folder), *generator, "-DCMAKE_BUILD_TYPE=Release"]
    configure += [f"-Dnanobind_DIR={nanobind.cmake_dir()}", f"-DPython_EXECUTABLE={sys.executable}"]
    subprocess.run(configure, check=True)
    subprocess.run(["cmake", "--build", str(folder), "--parallel", str(os.cpu_count() or 1)], check=True)
    return sorted(folder.rglob(f"_*{sysconfig.get_config_var('EXT_SUFFIX')}"))


if __name__ == "__main__":
    sys.exit(main())
