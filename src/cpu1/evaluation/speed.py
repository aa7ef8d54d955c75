"""Generation speed of trained runs: medians over repeats, taken in turn in one process with one thread.

A single time means little on a shared machine. Times taken in turn within one process can be compared. Packed runs are
measured in the runtime; a run with an ingredient that cannot be packed yet is measured through torch.
"""

import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TypeVar

import numpy as np
import torch

from cpu1.files import write_json
from cpu1.format.program import has_words
from cpu1.lookups.patches import count_whole
from cpu1.model.ingredients.embedding import PATCH
from cpu1.records import to_json
from cpu1.runs.generate import generate
from cpu1.runs.result import Speed
from cpu1.runs.trained import Trained, load
from cpu1.runtime.model import Model
from cpu1.runtime.processor import processor
from cpu1.runtime.sampling import Sampler, Sampling

STEPS = 256  # patches or tokens generated in one repeat
TORCH_BYTES = 256
REPEATS = 7
SAMPLING = Sampling(seed=1)

K = TypeVar("K")
Writer = Callable[[], tuple[int, int]]  # generates; returns how many steps and bytes it made


def measure(folders: Sequence[Path]) -> None:
    """Writes `speed.json` into each finished run folder: steps and bytes generated a second, one stream."""
    runs = {folder: _writer(folder) for folder in folders}
    speeds = in_turn({folder: write for folder, (_, _, write) in runs.items()})
    for folder, (engine, unit, _) in runs.items():
        write_json(folder / "speed.json", to_json(Speed(*speeds[folder], unit, engine, processor())))


def in_turn(writers: Mapping[K, Writer]) -> dict[K, tuple[float, float]]:
    """Steps and bytes a second of each: medians over rounds in which all write."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    seconds: dict[K, list[float]] = {name: [] for name in writers}
    made: dict[K, tuple[int, int]] = {}
    for _ in range(1 + REPEATS):  # the first is a warm-up
        for name, write in writers.items():
            begun = time.perf_counter()
            made[name] = write()
            seconds[name].append(time.perf_counter() - begun)
    torch.set_num_threads(before)
    medians = {name: statistics.median(each[1:]) for name, each in seconds.items()}
    return {name: (steps / medians[name], size / medians[name]) for name, (steps, size) in made.items()}


def _writer(folder: Path) -> tuple[str, str, Writer]:
    """The name of the engine that runs the model, the name of its unit, and a function that generates with it."""
    packed = folder / "model.cpu1"
    if not packed.exists():
        trained = load(folder)
        return "torch", "patch" if trained.recipe.level == "byte" else "token", partial(_write_torch, trained)
    model = Model(packed)
    unit = "token" if model.tokens else "patch"
    return "native" if model.native else "reference", unit, partial(write_packed, model)


def write_packed(model: Model) -> tuple[int, int]:
    """A `Writer` of a packed model, once it has the model."""
    count = STEPS * (1 if model.tokens else PATCH)
    units = model.units().generate(count, Sampler(SAMPLING), may_end=False)
    steps = count_whole(units) if has_words(model.about["program"]) else STEPS
    return steps, len(model.decode(units))


def _write_torch(trained: Trained) -> tuple[int, int]:
    chunks = list(generate(trained, b"", TORCH_BYTES, SAMPLING, may_end=False))
    size = sum(map(len, chunks))
    if trained.model.cuts:
        return count_whole(np.frombuffer(b"".join(chunks), np.uint8)), size
    return len(chunks) // trained.model.patch, size
