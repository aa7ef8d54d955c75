"""How soon the C program writes its first byte, and the memory it takes: `python bench/start.py [--json]`.

    cmake -S native -B build/library -DCPU1_LIBRARY=ON
    cmake --build build/library
    python bench/start.py --out results/bench/start.json

For each model, in turn, the program `cpu1` is started over and over with a prompt of one word and 64 bytes to write.
Milliseconds are from the start of the process to the first byte that it writes, and to its end: medians, and the
quarters around them. Memory is the largest that was resident until the first byte came, as Linux counted it (VmHWM).
Models are in the system's file cache, as they are after their first use.
"""

import argparse
import json
import os
import statistics
import subprocess
import time
from pathlib import Path
from typing import Any

from cpu1.cli.options import positive
from cpu1.files import write_atomic
from cpu1.runtime.processor import processor

ROOT = Path(__file__).resolve().parents[1]
MODELS = ("tiny.cpu1", "default.cpu1", "07-base-r1-s0.cpu1")


def run(program: Path, model: Path) -> tuple[float, float, float]:
    """Milliseconds to the first byte and to the end; megabytes resident."""
    words = [str(program), "generate", "Once", "-m", str(model), "--max-bytes", "64"]
    begun = time.perf_counter()
    process = subprocess.Popen(words, stdout=subprocess.PIPE)
    assert process.stdout is not None
    first = process.stdout.read(1)
    seen = time.perf_counter()
    memory = Path(f"/proc/{process.pid}/status").read_text().partition("VmHWM:")[2].split()[0]
    process.stdout.read()
    status = process.wait()
    ended = time.perf_counter()
    process.stdout.close()
    if not first or status:
        raise SystemExit(f"{program} wrote nothing with {model}: status {status}")
    return 1e3 * (seen - begun), 1e3 * (ended - begun), int(memory) * 1024 / 1e6


def measure(program: Path, models: list[Path], repeats: int) -> dict[str, Any]:
    """All figures."""
    found: dict[Path, list[tuple[float, float, float]]] = {model: [] for model in models}
    for _ in range(repeats + 1):
        for model in models:
            found[model].append(run(program, model))
    rows = []
    for model, runs in found.items():
        first, ended, memory = zip(*runs[1:], strict=True)  # the first run fills the file cache
        low, middle, high = statistics.quantiles(first, n=4)
        row = {"model": model.name, "file_bytes": model.stat().st_size, "first_byte_ms": round(middle, 1)}
        row |= {"quarters_ms": [round(low, 1), round(high, 1)], "end_ms": round(statistics.median(ended), 1)}
        rows.append(row | {"resident_mb": round(max(memory), 1)})
    return {
        "processor": processor(),
        "program_bytes": program.stat().st_size,
        "repeats": repeats,
        "load": [round(each, 1) for each in os.getloadavg()],
        "rows": rows,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--program", type=Path, default=ROOT / "build" / "library" / "program" / "cpu1")
    parser.add_argument("--models", type=Path, nargs="+", help="default: three of checkpoints/")
    parser.add_argument("--repeats", type=positive, default=40)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--out", type=Path, metavar="FILE")
    args = parser.parse_args()
    models = args.models or [path for name in MODELS if (path := ROOT / "checkpoints" / name).exists()]
    for path in (args.program, *models):
        if not path.is_file():
            parser.error(f"{path}: no such file")
    results = measure(args.program, models, args.repeats)
    if args.out:
        write_atomic(args.out, json.dumps(results, indent=1) + "\n")
    if args.json:
        print(json.dumps(results))
        return
    for row in results["rows"]:
        low, high = row["quarters_ms"]
        print(f"{row['model']:22} {row['file_bytes'] / 1e6:5.1f} MB: first byte after {row['first_byte_ms']} ms "
              f"({low} to {high}), end after {row['end_ms']} ms, {row['resident_mb']} MB resident")  # fmt: skip


if __name__ == "__main__":
    main()
