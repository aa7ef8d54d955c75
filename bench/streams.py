"""Many texts at once: a batch against a thread and a session each, and against one text.

python bench/streams.py [--model FILE] [--json] [--out results/bench/streams.json]

Comparisons in interleaved pairs, by the clock and by the time that cores worked:
64 texts of 200 bytes on two cores, by a batch and by a
thread and a session each; and 16 texts on one core by a batch against one text alone, in bytes a second. Then the
longest step while a long prompt is read, and the memory of a stream.
"""

import argparse
import json
import os
import statistics
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from cpu1.cli.options import positive
from cpu1.files import write_atomic
from cpu1.runtime.default import default_model
from cpu1.runtime.model import Model
from cpu1.runtime.processor import processor
from cpu1.runtime.speed import resident_bytes

PROMPTS = ("The captain said", "In the morning", "She opened the door", "It is a truth")
BYTES = 200
LONG = "The river went on past the town, and nobody asked where it came from. " * 300


def by_batch(model: Model, streams: int, threads: int) -> None:
    """All texts at once."""
    batch = model.batch(threads)
    for number in range(streams):
        batch.add(PROMPTS[number % 4], BYTES, seed=number, may_end=False)
    while len(batch):
        batch.step()


def by_threads(model: Model, streams: int, threads: int) -> None:
    """A session each, as many at once as there are threads; `threads` 0: as many as there are texts."""
    with ThreadPoolExecutor(threads or streams) as pool:
        list(pool.map(lambda number: one(model, number), range(streams)))


def one(model: Model, number: int) -> None:
    """A text alone."""
    from cpu1.runtime.sampling import Sampling

    for _ in model.chunks(PROMPTS[number % 4].encode(), BYTES, Sampling(seed=number), may_end=False):
        pass


def seconds(work: Callable[[], Any]) -> tuple[float, float]:
    """Of the clock, and of all cores."""
    begun, worked = time.perf_counter(), time.process_time()
    work()
    return time.perf_counter() - begun, time.process_time() - worked


def compare(
    ways: tuple[Callable[[], Any], Callable[[], Any]], streams: tuple[int, int], repeats: int
) -> dict[str, Any]:
    """Bytes a second of two ways, in turn, and how many times the first is as fast: median, least, most."""
    times: tuple[list[tuple[float, float]], list[tuple[float, float]]] = ([], [])
    for number in range(repeats):
        for index in (0, 1) if number % 2 else (1, 0):
            times[index].append(seconds(ways[index]))
    found: dict[str, Any] = {}
    for kind, name in enumerate(("clock", "cpu")):
        one, other = ([pair[kind] for pair in each] for each in times)
        ratios = [streams[0] * b / (streams[1] * a) for a, b in zip(one, other, strict=True)]
        found[f"{name}_bytes_per_s"] = [
            round(n * BYTES / statistics.median(each)) for n, each in zip(streams, (one, other), strict=True)
        ]
        found[f"{name}_ratio"] = [round(f(ratios), 2) for f in (statistics.median, min, max)]
    return found


def beside_a_long_prompt(model: Model) -> dict[str, float]:
    """Milliseconds of a step of four texts alone, and while a prompt of 21 KB is read."""
    batch = model.batch(1)
    for number in range(4):
        batch.add("The", 1 << 20, seed=number, may_end=False)
    for _ in range(8):
        batch.step()
    alone = [1e3 * seconds(batch.step)[0] for _ in range(100)]
    reading = batch.add(LONG, 4)
    beside = []
    while reading in batch:
        beside.append(1e3 * seconds(batch.step)[0])
    return {
        "alone_ms": round(statistics.median(alone), 3),
        "beside_ms": round(statistics.median(beside), 3),
        "beside_p99_ms": round(sorted(beside)[len(beside) * 99 // 100], 3),
    }


def memory(model: Model, streams: int = 256) -> int:
    """Bytes of a stream that has read a prompt and writes."""
    batch = model.batch(1)
    batch.add("a", 8)
    batch.step()
    before = resident_bytes()
    for number in range(streams):
        batch.add(PROMPTS[number % 4], 1 << 20, seed=number, may_end=False)
    for _ in range(8):
        batch.step()
    return (resident_bytes() - before) // streams


def measure(path: Path, repeats: int) -> dict[str, Any]:
    """All figures."""
    model = Model(path)
    by_batch(model, 4, 2)
    return {
        "processor": processor(),
        "model": path.name,
        "arithmetic": model.arithmetic,
        "load": [round(load, 1) for load in os.getloadavg()],
        "two_cores_64": compare((lambda: by_batch(model, 64, 2), lambda: by_threads(model, 64, 0)), (64, 64), repeats),
        "two_cores_64_two_threads": compare(
            (lambda: by_batch(model, 64, 2), lambda: by_threads(model, 64, 2)), (64, 64), repeats
        ),
        "one_core_16": compare((lambda: by_batch(model, 16, 1), lambda: one(model, 0)), (16, 1), 4 * repeats),
        "long_prompt": beside_a_long_prompt(model),
        "bytes_per_stream": memory(model),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", type=Path, default=None, help="packed model (default: the bundled one)")
    parser.add_argument("--repeats", type=positive, default=5, help="pairs (default: %(default)s)")
    parser.add_argument("--json", action="store_true", help="print one line of JSON")
    parser.add_argument("--out", type=Path, default=None, help="file to write the JSON to")
    args = parser.parse_args()
    found = measure(args.model or default_model(), args.repeats)
    if args.out:
        write_atomic(args.out, (json.dumps(found, indent=1) + "\n").encode())
    if args.json:
        print(json.dumps(found))
        return
    for name, value in found.items():
        print(f"{name:28}{value}")


if __name__ == "__main__":
    main()
