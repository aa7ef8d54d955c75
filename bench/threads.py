"""One stream on several threads: run 07 of random weights, its gate never deleting, in turn in one process.

    python bench/threads.py
    python bench/threads.py --scales small,base --threads 1,2,4 --json > results/bench/threads.json

Rates are medians over rounds, in steps (a patch of four bytes) a second; ratios to the first number of threads are
medians of the rounds' own (`contest.py`). All threads write the same bits. On a machine whose cores have other work
more threads wait for each other, so the load before is in the result.
"""

import argparse
import json
import os
import sys
import tempfile
from pathlib import Path
from typing import Any

import torch
from contest import LEAST_REPEATS, Case, Ours, measure, ratio

from cpu1.runtime.processor import processor


def race(scale: str, threads: list[int], repeats: int, folder: Path) -> list[dict[str, Any]]:
    """A row for each number of threads."""
    ours = {str(count): Ours(Case("07", scale, threads=count), folder) for count in threads}
    rates = measure(ours, repeats)
    first = rates[str(threads[0])]
    return [
        {
            "scale": scale,
            "threads": int(count),
            **{name: round(rate, 1) for name, rate in found.plain().items()},
            "generate_over_first": round(ratio(found.generate, first.generate), 3),
            "prompt_over_first": round(ratio(found.prompt, first.prompt), 3),
        }
        for count, found in rates.items()
    ]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--scales", default="small,base", help="scales (default: small,base)")
    parser.add_argument("--threads", default="1,2", help="numbers of threads (default: 1,2)")
    parser.add_argument("--repeats", type=int, default=11, help=f"rounds, at least {LEAST_REPEATS} (default: 11)")
    parser.add_argument("--json", action="store_true", help="print JSON instead of text")
    args = parser.parse_args()
    threads = [int(count) for count in args.threads.split(",")]
    if min(threads) < 1 or args.repeats < LEAST_REPEATS:
        parser.error(f"at least 1 thread and {LEAST_REPEATS} rounds")
    torch.set_num_threads(1)
    load = os.getloadavg()[0]
    with tempfile.TemporaryDirectory() as folder:
        rows = [row for scale in args.scales.split(",") for row in race(scale, threads, args.repeats, Path(folder))]
    about = {"processor": processor(), "cores": len(os.sched_getaffinity(0)), "load_average_before": load}
    if args.json:
        print(json.dumps({**about, "repeats": args.repeats, "rows": rows}, indent=1))
        return 0
    print(f"{about['processor']}, {about['cores']} cores, load {load:.1f}")
    print("scale  threads  generated a second           read a second")
    for row in rows:
        print(
            f"{row['scale']:7}{row['threads']:7}{row['generate']:12,.0f} (x {row['generate_over_first']:.2f})"
            f"{row['prompt']:15,.0f} (x {row['prompt_over_first']:.2f})"
        )
    return 0


if __name__ == "__main__":
    sys.exit(main())
