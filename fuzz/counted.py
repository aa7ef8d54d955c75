"""Atheris counts the branches of cpu1 that an input reaches, where this is called before cpu1 is imported."""

import random
import sys
from collections.abc import Callable
from pathlib import Path


def count() -> None:
    """From now on what is imported of cpu1 is its source, with counters in it, and the engine as it was installed."""
    import atheris

    sys.meta_path.sort(key=lambda finder: "ditable" in type(finder).__module__)  # those of an installation come last
    sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "src"))
    atheris.instrument_imports(include=["cpu1"]).__enter__()  # it is left with the process


def fuzz(target: Callable[[bytes], None], mutated: Callable[[bytes, random.Random], bytes]) -> None:
    """Gives inputs to `target` until libFuzzer's options end it; every other change is one of `mutated`."""
    import atheris

    def mutate(data: bytes, most: int, seed: int) -> bytes:
        rng = random.Random(seed)
        return mutated(data, rng)[:most] if rng.random() < 0.5 else atheris.Mutate(data, most)

    atheris.Setup(sys.argv, target, custom_mutator=mutate)
    atheris.Fuzz()
