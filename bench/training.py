"""Training throughput beside the machine's own rate of matrix products and plain eager fp32, in turn in one process.

    python bench/training.py --run 07 --scale small
    python bench/training.py --run 07 --scale small --json

Model FLOPs are those of the matrix products alone: 2 M K N forward, twice that backward; norms, scans, the
optimiser and everything else count as nothing, so the fraction says how much of a step is not matrix work.
Gradients have the precision that training has on this processor. The rate is that of a product in bf16 where the
processor multiplies it, else in fp32.
What the eager model is says `eager.py`. It is slow, and takes part in five rounds or a few more.
The memory is the process's largest over our own first steps, before the eager model exists: the system's count never
shrinks, and an eager model in another process could not take turns. It takes that many steps to come near its end.
"""

import argparse
import json
import resource
import statistics
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import eager
import numpy as np
import torch

from cpu1 import ops
from cpu1.model import ladder
from cpu1.model.ingredients.lookups import read_lookups
from cpu1.model.network import Model, build
from cpu1.model.recipe import Recipe
from cpu1.ops.products import multiplies_bf16, training_precision
from cpu1.runs.settings import Settings
from cpu1.runtime.processor import processor
from cpu1.training.optim import optimizer as make_optimizer
from cpu1.training.parallel import Group
from cpu1.training.step import Windowed
from cpu1.training.step import step as take_step

PEAK = 2048  # rows and columns of the product that stands for the machine's rate
WARM_UP = 15  # steps
EAGER_REPEATS = 5  # at least
TURN = 0.5  # seconds, or one call if that takes longer


def main() -> None:
    args = _args()
    if args.threads:
        torch.set_num_threads(args.threads)
    results = measure(args.run, args.scale, args.repeats, args.batch_bytes, not args.no_eager, args.precision)
    if args.json:
        print(json.dumps(results))
        return
    print(
        f"run_{results['run']} at {results['scale']}, {results['precision']}, "
        f"{results['batch_bytes'] // 1024} KB a step, {results['threads']} threads: "
        f"{results['bytes_per_s'] / 1e3:.1f} KB/s, {results['model_flops_per_s'] / 1e9:.0f} of "
        f"{results['peak_flops_per_s'] / 1e9:.0f} GFLOP/s in {results['peak_dtype']} = "
        f"{results['fraction_of_peak']:.1%} "
        f"(medians of {results['repeats']}), {results['rss_bytes'] / 1e6:.0f} MB"
    )
    if "eager_fp32_bytes_per_s" in results:
        print(
            f"plain eager fp32: {results['eager_fp32_bytes_per_s'] / 1e3:.1f} KB/s "
            f"(median of {results['eager_repeats']}), so ours is {results['ratio_to_eager']:.2f} times as fast"
        )


def settings_of(run: str, scale: str, steps: int, batch_bytes: int | None = None, precision: str = "bf16") -> Settings:
    """Settings of a training that is only timed, of a scale's own batch unless another is given."""
    recipe, sizes = ladder.recipe(run, scale), ladder.SCALES[scale]
    return Settings(
        run=run,
        title="",
        parent=None,
        level=recipe.level,
        scale=scale,
        round="bench",
        seed=0,
        data="",
        data_source="",
        data_sha256="",
        steps=steps,
        batch=(batch_bytes or sizes.batch_bytes) // sizes.window_bytes,
        window=sizes.window_bytes // bytes_a_unit(recipe),
        rate=1e-4,
        precision=precision,
    )


def units_of(recipe: Recipe, batch: int, window: int) -> torch.Tensor:
    """Units (batch, window): a text for a byte-level model, which may look up what it read, else random tokens."""
    if recipe.level != "byte":
        return torch.randint(1, recipe.embedding.vocabulary, (batch, window))
    text = np.frombuffer(Path(argparse.__file__).read_bytes(), np.uint8)
    return torch.from_numpy(np.resize(text, (batch, window)).astype(np.int64))


def bytes_a_unit(recipe: Recipe) -> int:
    """A byte, or what a token stands for."""
    return 1 if recipe.level == "byte" else 4


def measure(
    run: str, scale: str, repeats: int, batch_bytes: int | None, with_eager: bool, precision: str | None = None
) -> dict[str, Any]:
    """Steps of training, products of matrices and eager steps in turn; medians."""
    ops.retain_memory()
    precision = precision or training_precision(torch.device("cpu"))
    recipe, settings = ladder.recipe(run, scale), settings_of(run, scale, 1000, batch_bytes, precision)
    batch, window = settings.batch, settings.window
    unit = recipe.embedding.patch if recipe.level == "byte" else 1
    model = build(recipe).train()
    units = units_of(recipe, batch, window)
    found, _ = read_lookups(model.lookups, units, None)
    alone = Group(torch.device("cpu"))
    windows = Windowed(units, np.zeros(batch, np.int64), found)
    step = partial(take_step, model, make_optimizer(model, settings), windows, 0, settings, None, alone)
    for _ in range(WARM_UP):
        step()
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024

    dtype = torch.bfloat16 if multiplies_bf16() else torch.float32
    matrix = torch.randn(PEAK, PEAK, dtype=dtype)
    work: dict[str, Callable[[], object]] = {"step": step, "peak": partial(torch.mm, matrix, matrix)}
    if with_eager:
        plain = build(recipe).train()
        work["eager"] = partial(eager.step, plain, eager.make_optimizer(plain), units)
    seconds = in_turn(work, repeats, {"eager": max(1, repeats // EAGER_REPEATS)})

    medians = {name: statistics.median(times) for name, times in seconds.items()}
    trained, peak = batch * window * bytes_a_unit(recipe), 2 * PEAK**3 / medians["peak"]
    flops = matrix_flops(model, batch * window // unit, batch * window) / medians["step"]
    results = {
        "run": run,
        "scale": scale,
        "batch_bytes": batch_bytes or ladder.SCALES[scale].batch_bytes,
        "processor": processor(),
        "precision": precision,
        "threads": torch.get_num_threads(),
        "repeats": repeats,
        "bytes_per_s": trained / medians["step"],
        "model_flops_per_s": flops,
        "peak_flops_per_s": peak,
        "peak_dtype": str(dtype).removeprefix("torch."),
        "fraction_of_peak": flops / peak,
        "rss_bytes": memory,
    }
    if with_eager:
        results["eager_repeats"] = len(seconds["eager"])
        results["eager_fp32_bytes_per_s"] = trained / medians["eager"]
        results["ratio_to_eager"] = medians["eager"] / medians["step"]
    return results


def in_turn(work: dict[str, Callable[[], object]], rounds: int, every: dict[str, int]) -> dict[str, list[float]]:
    """The seconds of each piece of work, one after the other in each round, or in each `every`-th.

    In its turn a piece is called once, which does not count, and then over and over for TURN seconds, whose mean does:
    as in training, where a step follows a step and finds its memory as that one left it.
    """
    seconds: dict[str, list[float]] = {name: [] for name in work}
    for number in range(rounds):
        for name, call in work.items():
            if number % every.get(name, 1) == 0:
                call()
                begun, calls = time.perf_counter(), 0
                while not calls or time.perf_counter() - begun < TURN:
                    call()
                    calls += 1
                seconds[name].append((time.perf_counter() - begun) / calls)
    return seconds


def matrix_flops(model: Model, steps: int, units: int) -> float:
    """FLOPs of the matrix products of one training step over `steps` trunk steps and `units` units."""
    local = {"head.up", "head.down", "head.output", "tables.output"}
    once_a_unit = local if hasattr(model.head, "slots") else set[str]()
    looked_up = {"embedding.bytes", "embedding.tokens", "embedding.taps", "head.back", "tables.table"}
    looked_up |= {"recall.first", "recall.second"}  # products with the 256 vectors of the byte table
    total = 0.0
    for name, tensor in model.named_parameters():
        if tensor.dim() == 2 and name not in looked_up:
            total += 6.0 * tensor.numel() * (units if name in once_a_unit else steps)
    return total


def _args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--run", choices=ladder.LADDER, default="07")
    parser.add_argument("--scale", choices=tuple(ladder.SCALES), default="small")
    parser.add_argument("--repeats", type=int, default=15, help="rounds (default: 15); at least 5")
    parser.add_argument("--batch-bytes", type=int, help="default: the scale's")
    parser.add_argument("--threads", type=int)
    parser.add_argument("--precision", choices=("bf16", "fp32"), help="default: the faster one here")
    parser.add_argument("--no-eager", action="store_true", help="leave the eager model out: it takes most of the time")
    parser.add_argument("--json", action="store_true")
    args = parser.parse_args()
    if args.repeats < 5:
        parser.error(f"--repeats {args.repeats}: a median needs at least 5")
    return args


if __name__ == "__main__":
    main()
