"""Builds the package for web pages and Node.js into build/web/: python release/wasm.py

It holds the engine as two modules of WebAssembly, one of them for relaxed SIMD, the JavaScript of web/, the bundled
model and the playground. The compiler is zig's, from PyPI; it goes into build/zig. `--serve` then shows the playground.
"""

import argparse
import gzip
import os
import shutil
import subprocess
import sys
from pathlib import Path

from serve import serve

ROOT = Path(__file__).resolve().parents[1]
OUT, TOOLS = ROOT / "build" / "web", ROOT / "build" / "zig"
ZIG = "ziglang==0.17.1"
MODULES = {"cpu1": ["-DCPU1_SETS=portable"], "cpu1-relaxed": []}
MOST_BYTES = 150_000  # of a module, gzipped
PAGES = ("*.js", "*.d.ts", "*.html", "*.css", "package.json", "README.md")


def run(*words: str | Path, **environment: str) -> None:
    """Runs a command; ends with its errors if it fails."""
    done = subprocess.run(words, env={**os.environ, **environment}, capture_output=True, text=True, check=False)
    if done.returncode:
        sys.exit(f"{' '.join(map(str, words))}\n{done.stdout[-2000:]}{done.stderr[-4000:]}")


def compiler() -> Path:
    """The Python that has zig, made once."""
    python = TOOLS / "bin" / "python"
    if not (TOOLS / "made").exists():
        run(sys.executable, "-m", "venv", TOOLS)
        run(python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", ZIG)
        (TOOLS / "made").touch()
    return python


def build(name: str, options: list[str], python: Path) -> Path:
    """One module of the engine."""
    folder = ROOT / "build" / "wasm" / name
    target = ["-DCPU1_TARGET=wasm32-wasi", f"-DZIG={python};-m;ziglang", "-DCPU1_WASM=ON"]
    toolchain = ROOT / "native" / "cmake" / "toolchain-zig.cmake"
    run("cmake", "-S", ROOT / "native", "-B", folder, f"-DCMAKE_TOOLCHAIN_FILE={toolchain}", *target, *options)
    run("cmake", "--build", folder, "--parallel", str(os.cpu_count() or 1), "--target", "cpu1")
    return folder / "wasm" / "cpu1.wasm"


def assemble() -> None:
    """Writes the package."""
    python = compiler()
    OUT.mkdir(parents=True, exist_ok=True)
    for name, options in MODULES.items():
        module = build(name, options, python)
        small = len(gzip.compress(module.read_bytes()))
        if small > MOST_BYTES:
            sys.exit(f"{module}: {small:,} bytes gzipped; at most {MOST_BYTES:,} are wanted")
        shutil.copy(module, OUT / f"{name}.wasm")
        print(f"{name}.wasm: {module.stat().st_size:,} bytes, {small:,} gzipped", flush=True)
    for pattern in PAGES:
        for path in (ROOT / "web").glob(pattern):
            shutil.copy(path, OUT)
    shutil.copy(ROOT / "checkpoints" / "default.cpu1", OUT)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--serve", type=int, nargs="?", const=8000, metavar="PORT", help="show the playground (8000)")
    args = parser.parse_args()
    assemble()
    if args.serve:
        serve(OUT, args.serve, "playground.html")


if __name__ == "__main__":
    main()
