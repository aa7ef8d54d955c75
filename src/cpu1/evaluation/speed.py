"""Generation speed of trained runs: all in one process, in turn, one thread, medians.

A lone time says little on a shared machine; taken in turn within one process, the figures compare.
"""

import statistics
import time
from collections.abc import Sequence
from pathlib import Path

import torch

from cpu1.files import write_json
from cpu1.inference import generate
from cpu1.runs import Trained, load
from cpu1.sampling import Sampling

GENERATED_BYTES = 256
REPEATS = 5


def measure(folders: Sequence[Path], threads: int = 1) -> None:
    """Writes `speed.json` into each finished run folder: steps and bytes generated a second, one stream."""
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    times: dict[Path, list[float]] = {folder: [] for folder in folders}
    counts: dict[Path, tuple[int, int]] = {}
    runs = {folder: load(folder) for folder in folders}
    for _ in range(1 + REPEATS):  # the first is a warm-up
        for folder, trained in runs.items():
            begun = time.perf_counter()
            counts[folder] = _generate(trained)
            times[folder].append(time.perf_counter() - begun)
    torch.set_num_threads(before)
    for folder, trained in runs.items():
        seconds = statistics.median(times[folder][1:])
        steps, size = counts[folder]
        speed = {"patches_per_s": steps / seconds, "bytes_per_s": size / seconds}
        unit = "patch" if trained.recipe.level == "byte" else "token"
        write_json(folder / "speed.json", {**speed, "unit": unit, "threads": threads, "engine": "torch"})


def _generate(trained: Trained) -> tuple[int, int]:
    """Samples a fixed number of bytes: (trunk steps, bytes)."""
    chunks = list(generate(trained, b"", GENERATED_BYTES, Sampling(seed=1), may_end=False))
    return len(chunks) // trained.model.patch, sum(map(len, chunks))
