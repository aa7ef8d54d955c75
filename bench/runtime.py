"""Speed of packed models on every instruction set of this machine: `python bench/runtime.py FILE... [--json]`.

What is measured says `cpu1.runtime.speed`. Each instruction set runs in a process of its own, as CPU1_ISA forces it;
each process first measures its memory after importing numpy, then what loading and a session add.
"""

import argparse
import json
import os
import subprocess
import sys

from cpu1.runtime.engine import isas

MEASURES = {
    "load_ms": "load ms",
    "rss_bytes": "RSS bytes",
    "generate_patches_per_s": "generate/s",
    "prompt_patches_per_s": "prompt/s",
    "floor_patches_per_s": "floor/s",
    "fraction_of_floor": "of floor",
    "read_gb_per_s": "read GB/s",
    "multiply_adds_g_per_s": "G mult-adds/s",
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("files", nargs="+", help="packed models")
    parser.add_argument("--isa", action="append", help="instruction sets (default: all that the machine has)")
    parser.add_argument("--steps", type=int, default=256, help="patches or tokens of one repeat (default: 256)")
    parser.add_argument("--repeats", type=int, default=15, help="default: 15")
    parser.add_argument("--threads", type=int, default=1, help="default: 1")
    parser.add_argument("--json", action="store_true", help="one object a line, with a profile")
    args = parser.parse_args()
    if not args.json:
        print("  ".join(["file", "isa", *MEASURES.values()]))
    sizes = [f"--steps={args.steps}", f"--repeats={args.repeats}", f"--threads={args.threads}", "--json"]
    for file in args.files:
        for isa in args.isa or isas():
            command = [sys.executable, "-m", "cpu1", "bench", file, *sizes]
            run = subprocess.run(command, env={**os.environ, "CPU1_ISA": isa}, stdout=subprocess.PIPE, check=True)
            row = json.loads(run.stdout)
            figures = [f"{row[name]:.2f}" for name in MEASURES]
            print(json.dumps(row) if args.json else "  ".join([file, isa, *figures]), flush=True)


if __name__ == "__main__":
    main()
