"""Several processes with one thread each beside one process with as many threads, in turn: bytes trained a second.

    python bench/parallel.py --run 07 --scale nano
    python bench/parallel.py --run 07 --scale small --json

Both train on the same batch a step. Every repeat starts new processes and takes the median of its steps;
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
from training import bytes_a_unit, settings_of

from cpu1 import ops
from cpu1.model import ladder
from cpu1.training import loop, parallel


def main() -> None:
    args = _args()
    if args.worker:
        run, scale, steps, threads = args.worker
        work(run, scale, int(steps), int(threads))
        return
    results = measure(args.run, args.scale, args.repeats, args.steps, args.processes)
    if args.json:
        print(json.dumps(results))
        return
    print(
        f"run_{results['run']} at {results['scale']}, {results['batch_bytes'] // 1024} KB a step: one process with "
        f"{results['processes']} threads {results['threads_bytes_per_s'] / 1e3:.1f} KB/s, "
        f"{results['processes']} processes with one {results['processes_bytes_per_s'] / 1e3:.1f} KB/s, "
        f"ratio {results['ratio']:.3f} "
        f"(medians of {results['repeats']})"
    )


def measure(run: str, scale: str, repeats: int, steps: int, processes: int) -> dict[str, Any]:
    """Both ways in turn, `repeats` times."""
    torchrun = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", str(processes)]
    command = [__file__, "--worker", run, scale, str(steps)]
    threads_seconds, processes_seconds = [], []
    for _ in range(repeats):
        threads_seconds.append(_seconds([*command, str(processes)]))
        processes_seconds.append(_seconds([*torchrun, *command, "1"]))
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


def _seconds(arguments: list[str]) -> float:
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}  # each process sets its own
    done = subprocess.run([sys.executable, *arguments], env=environment, stdout=subprocess.PIPE, check=True)
    return float(done.stdout)


def work(run: str, scale: str, steps: int, threads: int) -> None:
    """Prints the median seconds of a step: this process's part of a repeat."""
    torch.set_num_threads(threads)
    ops.retain_memory()
    recipe, settings = ladder.recipe(run, scale), settings_of(run, scale, steps)
    vocabulary = recipe.embedding.vocabulary
    stream = np.random.default_rng(0).integers(1, vocabulary, 2 * settings.batch * settings.window)
    text = loop.Text(stream, np.full(vocabulary, bytes_a_unit(recipe)), 0.0)
    with parallel.join(torch.device("cpu")) as group:
        seconds = loop.seconds_a_step(recipe, settings, text, None, group, steps)
    if group.leads:
        print(seconds)


def _args() -> argparse.Namespace:
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
