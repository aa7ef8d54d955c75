"""Our engine beside an earlier one of ours: random weights, one thread, in turn, each in a process of its own.

    git worktree add earlier 6522dd7c && make -C earlier setup
    python bench/earlier.py earlier
    python bench/earlier.py earlier --scales small --repeats 15 --keep

The earlier engine is a checkout with its own `.venv`; its own `bench/contest.py` makes the model and counts the steps.
Both run run_07 whose gate never deletes. Rates are medians over rounds; a ratio is the median of the rounds' own
ratios, of which the least and the most are given too. The floor is that of `bench/peers.py`, measured in every round.
`--keep` writes results/bench/earlier-PROCESSOR.json.
"""

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from contest import LEAST_REPEATS, Case, Ours
from peers import floor, keep

from cpu1.cli.options import positive
from cpu1.errors import UserError
from cpu1.model import ladder
from cpu1.runtime.processor import processor

HERE = Path(__file__).resolve().parents[1]
# What both sides run: they have `contest.py` alone in common.
WORKER = """
import sys, tempfile
from pathlib import Path
sys.path.insert(0, "bench")
import torch
from contest import GENERATED, PROMPT, Case, Ours, rate
torch.set_num_threads(1)
with tempfile.TemporaryDirectory() as folder:
    ours = Ours(Case("07", sys.argv[1]), Path(folder))
    print("ready", flush=True)
    for line in sys.stdin:
        print(rate(ours, ours.generate, GENERATED), rate(ours, ours.prompt, PROMPT), flush=True)
"""


class Engine:
    """A checkout's engine in a process that waits to be asked."""

    def __init__(self, checkout: Path, scale: str) -> None:
        python = checkout / ".venv" / "bin" / "python"
        if not python.exists():
            raise UserError(f"{python}: there is no such file; run `make -C {checkout} setup` first")
        words = [str(python), "-c", WORKER, scale]
        self.process = subprocess.Popen(
            words, cwd=checkout, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, bufsize=1
        )
        if self._line() != "ready":
            raise UserError(f"{checkout}: its engine did not start")

    def _line(self) -> str:
        assert self.process.stdout is not None
        return self.process.stdout.readline().strip()

    def rates(self) -> tuple[float, float]:
        """Steps a second of one round: generated, and of a prompt."""
        assert self.process.stdin is not None
        print("go", file=self.process.stdin, flush=True)
        generate, prompt = map(float, self._line().split())
        return generate, prompt

    def close(self) -> None:
        assert self.process.stdin is not None
        self.process.stdin.close()
        self.process.wait()


def compare(checkout: Path, scale: str, repeats: int) -> dict[str, Any]:
    """Medians of both engines by kind of work, and the present one's rate over the earlier one's."""
    engines = Engine(HERE, scale), Engine(checkout, scale)
    with tempfile.TemporaryDirectory() as folder:
        ours = Ours(Case("07", scale), Path(folder))
    rounds, floors = [], []
    for number in range(repeats):
        pair = [engine.rates() for engine in (engines[::-1] if number % 2 else engines)]
        rounds.append(pair[::-1] if number % 2 else pair)
        floors.append(floor(ours))
    for engine in engines:
        engine.close()
    found: dict[str, Any] = {"repeats": repeats}
    for place, kind in enumerate(("generate", "prompt")):
        ratios = [now[place] / before[place] for now, before in rounds]
        found[kind] = {
            "steps_per_s": [statistics.median(each[side][place] for each in rounds) for side in (0, 1)],
            "ratio": [round(value, 3) for value in (statistics.median(ratios), min(ratios), max(ratios))],
        }
    fractions = ([each[side][0] * least for each, least in zip(rounds, floors, strict=True)] for side in (0, 1))
    found["fraction_of_floor"] = [round(statistics.median(of_rounds), 3) for of_rounds in fractions]
    return found


def commit(checkout: Path) -> str:
    words = ["git", "-C", str(checkout), "log", "-1", "--format=%h of %as"]
    return subprocess.run(words, capture_output=True, text=True, check=True).stdout.strip()


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("checkout", type=Path, help="a folder of the earlier engine, set up")
    parser.add_argument("--scales", nargs="+", choices=list(ladder.SCALES), default=["small", "base"], metavar="SCALE")
    parser.add_argument("--repeats", type=positive, default=11, help="rounds (default: 11)")
    parser.add_argument("--keep", action="store_true", help="also write results/bench/earlier-PROCESSOR.json")
    args = parser.parse_args()
    if args.repeats < LEAST_REPEATS:
        parser.error(f"--repeats {args.repeats}: at least {LEAST_REPEATS}, for a median")
    try:
        found = {"processor": processor(), "earlier": commit(args.checkout), "run": "07, gate never deletes"}
        scales = {scale: compare(args.checkout.resolve(), scale, args.repeats) for scale in args.scales}
    except (UserError, subprocess.CalledProcessError) as error:
        print(f"earlier: {error}", file=sys.stderr)
        return 2
    results = found | {"threads": 1, "scales": scales}
    print(json.dumps(results, indent=1))
    if args.keep:
        keep("earlier", results)
    return 0


if __name__ == "__main__":
    sys.exit(main())
