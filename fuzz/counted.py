"""Atheris counts the branches of cpu1 that an input reaches, where this is called before cpu1 is imported."""

import sys
from pathlib import Path


def count() -> None:
    """From now on what is imported of cpu1 is its source, with counters in it, and the engine as it was installed."""
    import atheris

    sys.meta_path.sort(key=lambda finder: "ditable" in type(finder).__module__)  # those of an installation come last
    sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "src"))
    atheris.instrument_imports(include=["cpu1"]).__enter__()  # it is left with the process
