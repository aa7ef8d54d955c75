"""Speed of packed models in the engine, beside what the machine allows: `python bench/runtime.py FILE... [--json]`.

Generation is greedy, one stream; patches (steps) a second, medians over repeats. The floor is the longer of reading all
weights once and of the multiply-adds of a step, at the rates measured here: bytes read from a buffer of the weights'
size, and products in registers alone. Each instruction set runs in a process of its own, as CPU1_ISA forces it; each
process first measures its memory after importing numpy, then what loading and a session add.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

MEASURES = {
    "load_ms": "load ms",
    "rss_mb": "RSS MB",
    "generate_patches_per_s": "generate/s",
    "prompt_patches_per_s": "prompt/s",
    "floor_patches_per_s": "floor/s",
    "fraction_of_floor": "of floor",
    "read_gb_per_s": "read GB/s",
    "multiply_adds_g_per_s": "G mult-adds/s",
}


def resident_bytes() -> int:
    """This process's memory, of which Linux keeps account in pages."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def median_rate(amount: float, repeats: int, call: Callable[[], Any]) -> float:
    """Amount a second, the median over calls after one to warm up."""
    call()
    seconds = []
    for _ in range(repeats):
        begin = time.perf_counter()
        call()
        seconds.append(time.perf_counter() - begin)
    return amount / statistics.median(seconds)


def machine_rates(isa: str, weights: int) -> tuple[float, float]:
    """Bytes read a second from a buffer of `weights` bytes; multiply-adds a second."""
    import numpy as np

    from cpu1.runtime.engine import native

    module, buffer, rounds = native(), np.zeros(weights, np.uint8), 100_000
    done = module.multiply_adds(isa, rounds)
    read = median_rate(weights, 15, lambda: module.read_all(isa, buffer))
    return read, median_rate(done, 15, lambda: module.multiply_adds(isa, rounds))


def measure(path: str, patches: int, repeats: int, threads: int) -> dict[str, Any]:
    """All figures of one file in this process."""
    import numpy as np

    from cpu1.runtime.engine import Engine, native
    from cpu1.runtime.session import Session
    from cpu1.sampling import Sampler, Sampling

    native()
    sampler = Sampler(Sampling(temperature=0))
    before = resident_bytes()
    begin = time.perf_counter()
    model = Engine(path)
    load = time.perf_counter() - begin
    session = Session(model, threads)
    session.generate(16 * model.patch, sampler, end=None)
    memory = resident_bytes() - before

    steps = patches * model.patch
    generate = median_rate(patches, repeats, lambda: session.generate(steps, sampler, end=None))
    text = np.random.default_rng(0).integers(1, model.vocabulary, 4 * steps)
    session = Session(model, threads)
    prompt = median_rate(4 * patches, repeats, lambda: session.advance(text))
    session = Session(model, threads)
    session.profile(True)
    session.generate(steps, sampler, end=None)
    spent = {name: 1e6 * seconds / patches for name, (seconds, _) in session.profile().items()}
    read, products = machine_rates(model.isa, model.model.weight_bytes)
    slowest = max(model.model.weight_bytes / read, (model.model.trunk_products + model.model.head_products) / products)
    return {
        "file": path,
        "run": model.about["run"].get("run", ""),
        "isa": model.isa,
        "threads": threads,
        "load_ms": 1e3 * load,
        "rss_mb": memory / 1e6,
        "file_bytes": Path(path).stat().st_size,
        "generate_patches_per_s": generate,
        "prompt_patches_per_s": prompt,
        "floor_patches_per_s": 1 / slowest,
        "fraction_of_floor": generate * slowest,
        "read_gb_per_s": read / 1e9,
        "multiply_adds_g_per_s": products / 1e9,
        "profile_us_per_patch": spent,
    }


def main() -> None:
    from cpu1.runtime.engine import isas

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("files", nargs="+", help="packed models")
    parser.add_argument("--isa", action="append", help="instruction sets (default: all that the machine has)")
    parser.add_argument("--patches", type=int, default=256, help="generated in one repeat (default: 256)")
    parser.add_argument("--repeats", type=int, default=15, help="default: 15")
    parser.add_argument("--threads", type=int, default=1, help="default: 1")
    parser.add_argument("--json", action="store_true", help="one object a line, with a profile")
    parser.add_argument("--here", action="store_true", help=argparse.SUPPRESS)  # in this process
    words = parser.parse_args()
    if words.here:
        print(json.dumps(measure(words.files[0], words.patches, words.repeats, words.threads)))
        return
    if not words.json:
        print("  ".join(["file", "isa", *MEASURES.values()]))
    sizes = [f"--patches={words.patches}", f"--repeats={words.repeats}", f"--threads={words.threads}"]
    for file in words.files:
        for isa in words.isa or isas():
            command = [sys.executable, __file__, file, "--here", *sizes]
            run = subprocess.run(
                command, env={**os.environ, "CPU1_ISA": isa}, stdout=subprocess.PIPE, text=True, check=True
            )
            row = json.loads(run.stdout)
            figures = [f"{row[name]:.2f}" for name in MEASURES]
            print(run.stdout.strip() if words.json else "  ".join([file, isa, *figures]), flush=True)


if __name__ == "__main__":
    main()
