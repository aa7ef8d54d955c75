"""Training throughput beside the machine's own bf16 matrix rate, measured in turn in one process.

    python bench/training.py --run 07 --scale small
    python bench/training.py --run 07 --scale small --json

Model FLOPs are those of the matrix products alone: 2 M K N forward, twice that backward; norms, scans, the
optimiser and everything else count as nothing, so the fraction says how much of a step is not matrix work.
`--reference` runs the plain torch forms of every operation instead of the native ones.
"""

import argparse
import json
import resource
import statistics
import time
from collections.abc import Callable
from contextlib import nullcontext
from functools import partial
from typing import Any

import torch

from cpu1 import ladder, ops
from cpu1.model import Model, build
from cpu1.training import loop
from cpu1.training.optim import optimizer as make_optimizer
from cpu1.training.settings import Settings

PEAK = 2048  # rows and columns of the product that stands for the machine's rate


def main() -> None:
    words = _words()
    if words.threads:
        torch.set_num_threads(words.threads)
    found = measure(words.run, words.scale, words.repeats, words.batch_bytes, words.reference)
    if words.json:
        print(json.dumps(found))
        return
    print(
        f"run_{found['run']} at {found['scale']}, {found['batch_bytes'] // 1024} KB a step, "
        f"{found['threads']} threads: "
        f"{found['bytes_per_s'] / 1e3:.1f} KB/s, {found['model_flops_per_s'] / 1e9:.0f} of "
        f"{found['bf16_peak_flops_per_s'] / 1e9:.0f} GFLOP/s = {found['fraction_of_peak']:.1%} "
        f"(medians of {found['repeats']}), {found['rss_bytes'] / 1e6:.0f} MB"
    )


def measure(run: str, scale: str, repeats: int, batch_bytes: int | None, reference: bool) -> dict[str, Any]:
    """Steps of training and products of bf16 matrices in turn; medians."""
    ops.retain_memory()
    recipe, sizes = ladder.recipe(run, scale), ladder.SCALES[scale]
    batch_bytes = batch_bytes or sizes.batch_bytes
    unit = recipe.embedding.patch if recipe.level == "byte" else 1
    per_unit = 1 if recipe.level == "byte" else 4  # bytes that a token stands for
    window = sizes.window_bytes // per_unit
    batch = batch_bytes // sizes.window_bytes
    settings = Settings(run=run, title="", parent=None, level=recipe.level, scale=scale, round="bench", seed=0, data="",
                        data_source="", data_sha256="", steps=1000, batch=batch, window=window, rate=1e-4)  # fmt: skip
    model = build(recipe).train()
    optimizer = make_optimizer(model, settings)
    units = torch.randint(1, recipe.embedding.vocabulary, (batch, window))
    matrix = torch.randn(PEAK, PEAK, dtype=torch.bfloat16)
    steps, peaks = [], []
    with ops.use_reference() if reference else nullcontext():
        for number in range(3 + repeats):  # the first three warm up
            steps.append(_timed(partial(loop.step, model, optimizer, units, number, settings, None)))
            peaks.append(_timed(partial(torch.mm, matrix, matrix)))
    seconds, peak = statistics.median(steps[3:]), 2 * PEAK**3 / statistics.median(peaks[3:])
    flops = matrix_flops(model, batch * window // unit, batch * window)
    return {
        "run": run,
        "scale": scale,
        "batch_bytes": batch_bytes,
        "threads": torch.get_num_threads(),
        "repeats": repeats,
        "bytes_per_s": batch * window * per_unit / seconds,
        "model_flops_per_s": flops / seconds,
        "bf16_peak_flops_per_s": peak,
        "fraction_of_peak": flops / seconds / peak,
        "rss_bytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024,
    }


def matrix_flops(model: Model, steps: int, units: int) -> float:
    """FLOPs of the matrix products of one training step over `steps` trunk steps and `units` units."""
    once_a_unit = {"head.up", "head.down", "head.output"} if hasattr(model.head, "slots") else set[str]()
    looked_up = {"embedding.bytes", "embedding.tokens", "embedding.taps", "head.back"}
    total = 0.0
    for name, tensor in model.named_parameters():
        if tensor.dim() == 2 and name not in looked_up:
            total += 6.0 * tensor.numel() * (units if name in once_a_unit else steps)
    return total


def _timed(work: Callable[[], object]) -> float:
    begun = time.perf_counter()
    work()
    return time.perf_counter() - begun


def _words() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--run", choices=ladder.ORDER, default="07")
    parser.add_argument("--scale", choices=tuple(ladder.SCALES), default="small")
    parser.add_argument("--repeats", type=int, default=15)
    parser.add_argument("--batch-bytes", type=int, help="default: the scale's")
    parser.add_argument("--threads", type=int)
    parser.add_argument("--reference", action="store_true")
    parser.add_argument("--json", action="store_true")
    return parser.parse_args()


if __name__ == "__main__":
    main()
