"""The speed of a packed model in the engine, compared with the limits of the machine.

Generation is greedy, with one stream. Speeds are steps (patches or tokens) a second, medians over repeats. The floor of
a step's time is the longer of reading all weights once and of its multiply-adds. Both rates are measured here: bytes
read from a buffer of the weights' size, and products in registers.
"""

import os
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any


def measure(path: str | Path, steps: int = 256, repeats: int = 15, threads: int = 1) -> dict[str, Any]:
    """All figures of one file, measured in this process, which should have loaded only numpy before.

    Raises UserError or ValueError for a file that is not valid, UserError without the native engine.
    """
    import numpy as np

    from cpu1.format.tokens import Tokens
    from cpu1.runtime.engine import NativeFile, native
    from cpu1.runtime.sampling import Sampler, Sampling
    from cpu1.runtime.streams import NativeStream

    native()
    sampler = Sampler(Sampling(temperature=0))
    before = resident_bytes()
    begin = time.perf_counter()
    model = NativeFile(path)
    load = time.perf_counter() - begin
    session = NativeStream(model, threads)
    session.generate(16 * model.patch, sampler, may_end=False)
    memory = resident_bytes() - before

    units = steps * model.patch
    drawn = NativeStream(model, threads).generate(units, Sampler(Sampling(temperature=1)), may_end=False)
    steps = model.steps(drawn)  # fewer units make one where steps end behind words
    generate = median_rate(steps, repeats, lambda: session.generate(units, sampler, may_end=False))
    tokens = Tokens.parse(model.tokenizer) if model.tokenizer else None
    step_bytes = len(drawn) / steps
    if tokens is not None:  # the mean bytes of the tokens that the model generates
        step_bytes = sum(len(tokens.token_bytes[unit]) for unit in drawn.tolist()) / len(drawn)
    text = np.random.default_rng(0).integers(1, min(256, model.vocabulary), 4 * units)
    if model.words:
        text = np.tile(drawn, 4)
    session = NativeStream(model, threads)
    prompt = median_rate(model.steps(text), repeats, lambda: session.advance(text))
    session = NativeStream(model, threads)
    session.profile(True)
    session.generate(units, sampler, may_end=False)
    profile = {name: 1e6 * seconds / steps for name, (seconds, _) in session.profile().items()}
    read, products = machine_rates(model.isa, model.model.weight_bytes)
    slowest = max(model.model.weight_bytes / read, (model.model.trunk_products + model.model.head_products) / products)
    return {
        "file": str(path),
        "run": model.about["run"].get("run", ""),
        "isa": model.isa,
        "threads": threads,
        "generate_patches_per_s": generate,
        "generate_bytes_per_s": generate * step_bytes,
        "prompt_patches_per_s": prompt,
        "floor_patches_per_s": 1 / slowest,
        "fraction_of_floor": generate * slowest,
        "load_ms": 1e3 * load,
        "file_bytes": Path(path).stat().st_size,
        "rss_bytes": memory,
        "read_gb_per_s": read / 1e9,
        "multiply_adds_g_per_s": products / 1e9,
        "profile_us_per_patch": profile,
    }


def resident_bytes() -> int:
    """The resident memory of this process in bytes on Linux; 0 elsewhere."""
    try:
        return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except OSError:
        return 0


def median_rate(amount: float, repeats: int, call: Callable[[], Any]) -> float:
    """`amount` divided by the median time of `repeats` calls in seconds, after one call to warm up."""
    call()
    seconds = []
    for _ in range(repeats):
        begin = time.perf_counter()
        call()
        seconds.append(time.perf_counter() - begin)
    return amount / statistics.median(seconds)


def machine_rates(isa: str, weights: int) -> tuple[float, float]:
    """Bytes read a second from a buffer of `weights` bytes, and multiply-adds a second, with an instruction set."""
    import numpy as np

    from cpu1.runtime.engine import native

    # Of ones: all pages of a buffer that nobody wrote are one page of zeros, which is read from the nearest cache.
    module, buffer, rounds = native(), np.ones(weights, np.uint8), 100_000
    done = module.multiply_adds(isa, rounds)
    read = median_rate(weights, 15, lambda: module.read_all(isa, buffer))
    return read, median_rate(done, 15, lambda: module.multiply_adds(isa, rounds))
