"""Generation speed of the ladder's byte-level runs at one scale: random weights, one thread, in turn in one process.

    python bench/generation.py --scale small
    python bench/generation.py --scale base --runs 03,04,07 --repeats 15
    python bench/generation.py --scale nano --json > results/bench/generation-nano.json

A study measures its own trained runs (`speed.json`), but runs trained on other days, or beside other work, do not
compare. Speed hangs on a model's shape, not on what it has learned, except where a gate deletes: here it is tuned to
30%. Rates are medians over rounds, ratios to the parent rung medians of the rounds' own. A step is a patch of four
bytes. (How long a token is hangs on the text, so that BPE runs are measured trained only.)
"""

import argparse
import json
import os
import sys
import tempfile
from pathlib import Path
from typing import Any

import torch
from contest import DELETING, GENERATED, LEAST_REPEATS, PROMPT, Case, Ours, Rates, measure, ratio

from cpu1.errors import UserError
from cpu1.model import ladder
from cpu1.model.ingredients.embedding import PATCH


def race(runs: list[str], scale: str, repeats: int, folder: Path) -> dict[str, Any]:
    """Runs everything; what `--json` prints."""
    torch.set_num_threads(1)
    load = os.getloadavg()[0]
    ours = {run: Ours(Case(run, scale, deleted=DELETING), folder) for run in runs}
    rates = measure(ours, repeats)
    return {
        "scale": scale,
        "rows": [row(run, ours[run], rates) for run in runs],
        "isa": ours[runs[0]].isa,
        "threads": 1,
        "repeats": repeats,
        "generated_steps": GENERATED,
        "prompt_steps": PROMPT,
        "load_average_before": load,
    }


def choose(names: str | None) -> list[str]:
    """The runs asked for, each once; UserError for one that reads tokens or is none."""
    if names is None:
        return [run for run in ladder.LADDER if reads_bytes(run)]
    runs = list(dict.fromkeys(ladder.find(name.strip()).run for name in names.split(",")))
    for run in runs:
        if not reads_bytes(run):
            raise UserError(f"run {run} reads tokens, and without training it has none; name runs that read bytes")
    return runs


def reads_bytes(run: str) -> bool:
    return ladder.recipe(run).level == "byte"


def row(run: str, model: Ours, rates: dict[str, Rates]) -> dict[str, Any]:
    parent = ladder.LADDER[run].parent
    medians = rates[run].plain()
    return {
        "run": run,
        "bytes_per_s": PATCH * medians["generate"],
        "prompt_bytes_per_s": PATCH * medians["prompt"],
        "over_parent": ratio(rates[run].generate, rates[parent].generate) if parent in rates else None,
        "deleted": model.deleted,
        "file_bytes": model.file_bytes,
    }


def table(results: dict[str, Any]) -> str:
    lines = [
        f"{results['scale']} scale, one thread, {results['isa']}, medians of {results['repeats']}; "
        f"load average before: {results['load_average_before']:.1f}",
        "",
        f"{'run':4} {'KB/s':>8} {'prompt':>8} {'over parent':>12} {'deleted':>8} {'file KB':>9}",
    ]
    for line in results["rows"]:
        over = f"{line['over_parent']:12.2f}" if line["over_parent"] else " " * 12
        deleted = f"{line['deleted']:8.0%}" if line["deleted"] else " " * 8
        speeds = f"{line['bytes_per_s'] / 1e3:8.1f} {line['prompt_bytes_per_s'] / 1e3:8.1f}"
        lines.append(f"{line['run']:4} {speeds} {over} {deleted} {line['file_bytes'] / 1e3:9,.0f}")
    return "\n".join(lines)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--scale", default="small", help="nano, small, base or demo (default: small)")
    parser.add_argument("--runs", help="of the ladder, by comma (default: all that read bytes)")
    parser.add_argument("--repeats", type=int, default=9, help=f"rounds, at least {LEAST_REPEATS} (default: 9)")
    parser.add_argument("--json", action="store_true", help="one JSON object instead of the table")
    args = parser.parse_args()
    if args.repeats < LEAST_REPEATS:
        parser.error(f"--repeats {args.repeats}: at least {LEAST_REPEATS}, for a median")
    try:
        with tempfile.TemporaryDirectory() as folder:
            results = race(choose(args.runs), args.scale, args.repeats, Path(folder))
    except UserError as error:
        print(f"generation: {error}", file=sys.stderr)
        return 2
    print(json.dumps(results) if args.json else table(results))
    return 0


if __name__ == "__main__":
    sys.exit(main())
