"""What `make gpu` finds on a bare machine: where things lie, and which libraries travelled with the working tree.

Nothing is installed and nothing is fetched. A library that Python has is used as it is; of those that it has not,
the wheels in gpu-data/wheels are unpacked into the work folder. So is this repository's src/, unless cpu1 is installed.
"""

import ctypes
import importlib.util
import os
import signal
import sys
import zipfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
DATA = ROOT / "gpu-data"  # not tracked; `make gpu-data` fills it
TEXT, HELD_OUT, WHEELS = DATA / "text.txt.xz", DATA / "valid", DATA / "wheels"
LIBRARIES = {  # what training imports beside torch, numpy and triton, and the wheel that brings it
    "safetensors": "safetensors",
    "filelock": "filelock",
    "rich": "rich",
    "markdown_it": "markdown-it-py",
    "mdurl": "mdurl",
    "pygments": "pygments",
    "tokenizers": "tokenizers",
}
CACHES = {
    "CPU1_CACHE": "texts",
    "TRITON_CACHE_DIR": "triton",
    "TORCHINDUCTOR_CACHE_DIR": "inductor",
    "CUDA_CACHE_PATH": "cuda",
    "XDG_CACHE_HOME": "other",
    "TMPDIR": "temporary",
}
DIE_WITH_PARENT = 1  # PR_SET_PDEATHSIG, linux/prctl.h


def environment(work: Path) -> dict[str, str]:
    """The environment of all processes: libraries, and caches that need no home folder."""
    paths = [str(ROOT / "bench"), *([] if importlib.util.find_spec("cpu1") else [str(ROOT / "src")])]
    if brought := _unpacked(work / "wheels"):
        paths.append(str(brought))
    for name in CACHES.values():
        (work / "cache" / name).mkdir(parents=True, exist_ok=True)
    caches = {variable: str((work / "cache" / name).resolve()) for variable, name in CACHES.items()}
    known = os.environ.get("PYTHONPATH")
    return {
        **os.environ,
        **caches,
        "PYTHONPATH": os.pathsep.join([*paths, *([known] if known else [])]),
        "PYTHONUNBUFFERED": "1",
    }


def missing() -> list[str]:
    """Libraries that Python has not."""
    return [name for name in LIBRARIES if not importlib.util.find_spec(name)]


def _unpacked(folder: Path) -> Path | None:
    """`folder` with the missing libraries that travelled; None if that is none."""
    wanted = {LIBRARIES[name].replace("-", "_") for name in missing()}
    wheels = [path for path in sorted(WHEELS.glob("*.whl")) if path.name.partition("-")[0].lower() in wanted]
    for path in wheels:
        with zipfile.ZipFile(path) as wheel:
            wheel.extractall(folder)
    return folder.resolve() if wheels else None


def adopt(environment: dict[str, str]) -> None:
    """Makes this process see what its children will."""
    sys.path[:0] = [path for path in environment["PYTHONPATH"].split(os.pathsep) if path not in sys.path]
    os.environ.update(environment)


def end_with_parent() -> None:
    """Lets the kernel end this process when its parent ends, however that happens (Linux only)."""
    if sys.platform == "linux":
        parent = os.getppid()
        ctypes.CDLL(None).prctl(DIE_WITH_PARENT, signal.SIGKILL)
        if os.getppid() != parent:
            sys.exit(1)
