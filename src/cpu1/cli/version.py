"""What is installed: the package, Python, the engine with its instruction set, and the default model."""

import os
import platform
from importlib.metadata import PackageNotFoundError, version

from cpu1.errors import UserError
from cpu1.runtime import engine
from cpu1.runtime.archive import fingerprint_of
from cpu1.runtime.default import default_model


def installed() -> str:
    """The lines of `cpu1 --version`."""
    try:
        package = version("cpu1")
    except PackageNotFoundError:
        package = "(not installed, run from its source)"
    machine = f"{platform.system()} {platform.machine()}"
    return f"cpu1 {package}\nPython {platform.python_version()} on {machine}\n{_engine()}\n{_model()}"


def _model() -> str:
    """The model that runs where none is named, by what archives know it by: the first bytes of its file's SHA-256."""
    try:
        path = default_model()
        return f"default model {fingerprint_of(path).hex()}, {path.stat().st_size / 1e6:.1f} MB"
    except (UserError, OSError):
        return "no default model: name one with -m"


def _engine() -> str:
    if not engine.available():
        return "no native engine: models run in numpy, much slower; install a C++ compiler and cpu1 again for it"
    sets = engine.isas()
    chosen = os.environ.get("CPU1_ISA") or sets[0]
    if chosen not in sets:
        return f"native engine, but CPU1_ISA={chosen} is not one of this processor's: {', '.join(sets)}"
    others = [name for name in sets if name != chosen]
    return f"native engine, instruction set {chosen}" + (f" (also {', '.join(others)})" if others else "")
