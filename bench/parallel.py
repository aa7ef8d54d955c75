"""Several processes with one thread each beside one process with as many threads, in turn: bytes trained a second.

    python bench/parallel.py --run 07 --scale nano
    python bench/parallel.py --run 07 --scale small --json

Both train on the same batch a step. Every repeat starts its processes anew and takes the median of its steps;
the figures are medians of the repeats.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
from typing import Any

import numpy as np
import torch

from cpu1 import ops
from cpu1.model import ladder
from cpu1.runs.settings import Settings
from cpu1.training import loop, parallel


def main() -> None:
    words = _words()
    if words.worker:
        run, scale, steps, threads = words.worker
        work(run, scale, int(steps), int(threads))
        return
    found = measure(words.run, words.scale, words.repeats, words.steps, words.processes)
    if words.json:
        print(json.dumps(found))
        return
    print(
        f"run_{found['run']} at {found['scale']}, {found['batch_bytes'] // 1024} KB a step: one process with "
        f"{found['processes']} threads {found['threads_bytes_per_s'] / 1e3:.1f} KB/s, {found['processes']} processes "
        f"with one {found['processes_bytes_per_s'] / 1e3:.1f} KB/s, ratio {found['ratio']:.3f} "
        f"(medians of {found['repeats']})"
    )


def measure(run: str, scale: str, repeats: int, steps: int, processes: int) -> dict[str, Any]:
    """Both ways in turn, `repeats` times."""
    torchrun = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", str(processes)]
    words = [__file__, "--worker", run, scale, str(steps)]
    threads_seconds, processes_seconds = [], []
    for _ in range(repeats):
        threads_seconds.append(_seconds([*words, str(processes)]))
        processes_seconds.append(_seconds([*torchrun, *words, "1"]))
    batch_bytes = ladder.SCALES[scale].batch_bytes
    by_threads, by_processes = (batch_bytes / statistics.median(s) for s in (threads_seconds, processes_seconds))
    return {
        "run": run,
        "scale": scale,
        "batch_bytes": batch_bytes,
        "processes": processes,
        "repeats": repeats,
        "threads_bytes_per_s": by_threads,
        "processes_bytes_per_s": by_processes,
        "ratio": by_processes / by_threads,
    }


def _seconds(words: list[str]) -> float:
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}  # each process sets its own
    done = subprocess.run([sys.executable, *words], env=environment, stdout=subprocess.PIPE, check=True)
    return float(done.stdout)


def work(run: str, scale: str, steps: int, threads: int) -> None:
    """Prints the median seconds of a step: this process's part of a repeat."""
    torch.set_num_threads(threads)
    ops.retain_memory()
    recipe, sizes = ladder.recipe(run, scale), ladder.SCALES[scale]
    per_unit = 1 if recipe.level == "byte" else 4  # bytes that a token stands for
    settings = Settings(run=run, title="", parent=None, level=recipe.level, scale=scale, round="bench", seed=0, data="",
                        data_source="", data_sha256="", steps=steps, batch=sizes.batch_bytes // sizes.window_bytes,
                        window=sizes.window_bytes // per_unit, rate=1e-4)  # fmt: skip
    vocabulary = recipe.embedding.vocabulary
    stream = np.random.default_rng(0).integers(1, vocabulary, 2 * settings.batch * settings.window)
    text = loop.Text(stream, np.full(vocabulary, per_unit), 0.0)
    with parallel.join(torch.device("cpu")) as group:
        seconds = loop.seconds_a_step(recipe, settings, text, None, group, steps)
    if group.leads:
        print(seconds)


def _words() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--run", choices=[r for r in ladder.LADDER if not ladder.LADDER[r].teacher], default="07")
    parser.add_argument("--scale", choices=tuple(ladder.SCALES), default="nano")
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--steps", type=int, default=30)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--worker", nargs=4, help=argparse.SUPPRESS)  # run, scale, steps, threads
    return parser.parse_args()


if __name__ == "__main__":
    main()
