"""Does every run of the ladder stay finite? All of them with the third round's settings, then under stress.

    python bench/stability.py --scale nano --steps 3000 --data books/ --jobs 2 --json stability.json
    python bench/stability.py --scale nano --steps 3000 --data books/ --jobs 2 --stress --json stress.json

The third round is bf16 with twice the learning rate on BitLinear weights. Under stress every rate is eight times as
large (or as many times as said) and there is no warm-up: what training cannot stand, its guards must end, each with its
message, before a weight is anything but a number. Students learn from the unstressed run 02. Interrupted, the same
command resumes.

Exit status 0: every run trained, with finite weights, and never fell back behind byte frequencies; under stress: every
run trained or was stopped by a guard, with finite weights.
"""

import argparse
import math
import sys
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from itertools import dropwhile
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table
from safetensors import safe_open

from cpu1.data.corpus import prepare
from cpu1.errors import UserError
from cpu1.files import read_json, write_json
from cpu1.model import ladder
from cpu1.runs.folders import Key
from cpu1.runs.settings import Settings
from cpu1.runs.trained import Metrics
from cpu1.study.plan import Plan
from cpu1.study.runner import run_study
from cpu1.training.loop import MEAN
from cpu1.training.plan import read_text

ROUND = "r3"
STRESS = 8.0  # times the scale's learning rate


@dataclass(frozen=True)
class Row:
    """What became of one run."""

    run: str
    ended: str  # "trained", "stopped" by a guard, or "failed": anything else
    message: str  # why it did not train to its end
    steps: int
    nonfinite_steps: int
    largest_gradient: float  # norm before clipping, of the finite steps
    loss: float | None  # nats a unit, of the last steps
    bpb: float | None  # of held-out text
    fell_back: bool  # once better than byte frequencies and past the warm-up, it was worse again
    finite_weights: bool


def main() -> int:
    args = _args()
    try:
        return run(args)
    except UserError as error:
        print(f"stability: {error}", file=sys.stderr)
        return 2


def run(args: argparse.Namespace) -> int:
    """Trains what is missing, and reports; 130 when interrupted."""
    runs = tuple(ladder.LADDER) if args.runs == "all" else tuple(ladder.find(name).run for name in args.runs.split(","))
    frequency = read_text(prepare(args.data), None, 0).frequency_loss / math.log(2)
    extra = ["--set", f"steps={args.steps}", "--set", "precision=bf16", "--eval-bytes", "64k"]
    if args.batch:
        extra += ["--set", f"batch={args.batch}"]
    plan = Plan(args.out / "steady", runs, (0,), args.scale, ROUND, args.data, jobs=args.jobs, extra=tuple(extra))
    if sweep(plan, args.stress) == 130:
        return 130
    folder = place(plan, args.stress)
    rows = [row(name, folder / Key(name, args.scale, ROUND, 0).folder, frequency) for name in runs]
    show(rows)
    if args.json:
        asked = {name: getattr(args, name) for name in ("scale", "steps", "batch", "stress")}
        about = {**asked, "frequency_bpb": frequency}
        write_json(args.json, {**about, "sound": sound(rows, args.stress), "rows": [asdict(row) for row in rows]})
    return int(not sound(rows, args.stress))


def place(plan: Plan, stress: float | None) -> Path:
    """The folder of the runs that are asked for."""
    return plan.folder if stress is None else plan.folder.with_name(f"stress-{stress:g}")


def sweep(plan: Plan, stress: float | None) -> int:
    """Trains the plan's runs, or under stress their like beside them; the status of the runner."""
    teachers = {run: teacher for run, rung in ladder.LADDER.items() if (teacher := rung.teacher)}
    if stress is None:
        return run_study(plan, teachers)
    extra = [*plan.extra, "--set", f"rate={stress * ladder.SCALES[plan.scale].rate}", "--set", "warmup=0"]
    taught = tuple({teachers[run] for run in plan.runs if run in teachers})
    if taught:
        if (status := run_study(replace(plan, runs=taught), {})) != 0:
            return status
        extra += ["--teacher", str(plan.folder / Key(taught[0], plan.scale, plan.round, 0).folder)]
    return run_study(replace(plan, folder=place(plan, stress), extra=tuple(extra)), {})


def row(run: str, folder: Path, frequency: float) -> Row:
    """The outcome of a run folder. `frequency`: bits per byte of byte frequencies alone."""
    lines = list(Metrics.read(folder / "metrics.jsonl"))
    warmup = Settings.read(folder / "settings.json").warmup_steps if lines else 0
    result = read_json(folder / "result.json") if (folder / "result.json").exists() else None
    error = read_json(folder / "error.json") if result is None else {}
    stopped = error.get("kind") == "RunStopped"
    return Row(
        run=run,
        ended="trained" if result else "stopped" if stopped else "failed",
        message=error.get("error", ""),
        steps=lines[-1]["step"] if lines else 0,
        nonfinite_steps=lines[-1]["nonfinite"] if lines else 0,
        largest_gradient=max((line["grad_norm"] for line in lines if line["grad_norm"]), default=0.0),
        loss=lines[-1]["loss"] if lines else None,
        bpb=result["bpb"] if result else None,
        fell_back=fell_back([line for line in lines if line["step"] > warmup], frequency),
        finite_weights=finite_weights(folder),
    )


def fell_back(lines: list[dict[str, Any]], frequency: float) -> bool:
    """Whether the running mean of the training loss, once below that of byte frequencies, was above it again."""
    learned = dropwhile(lambda bpb: bpb >= frequency, running_mean(lines))
    return any(bpb >= frequency for bpb in learned)


def running_mean(lines: list[dict[str, Any]]) -> Iterator[float]:
    """Bits per byte as slowly forgotten as the trainer's guard does it, at each line of metrics."""
    mean, last = None, 0
    for line in lines:
        if line["bpb"] is not None:
            old = MEAN ** (line["step"] - last)
            mean, last = line["bpb"] if mean is None else old * mean + (1 - old) * line["bpb"], line["step"]
            yield mean


def finite_weights(folder: Path) -> bool:
    """Of the trained model, or of the newest checkpoint of one that was stopped; False where there is neither."""
    files = [*folder.glob("model.safetensors"), *sorted(folder.glob("checkpoints/[0-9]*.safetensors"), reverse=True)]
    if not files:
        return False
    with safe_open(files[0], "pt") as file:
        names = [name for name in file.keys() if not name.startswith(("optimizer/", "random"))]  # noqa: SIM118
        return all(bool(file.get_tensor(name).isfinite().all()) for name in names)


def sound(rows: list[Row], stress: float | None) -> bool:
    """Whether every run ended as it should."""
    if stress is not None:
        return all(row.ended != "failed" and row.finite_weights for row in rows)
    return all(row.ended == "trained" and row.finite_weights and not row.fell_back for row in rows)


def show(rows: list[Row]) -> None:
    """The table, and below it why runs did not train to their end."""
    heads = ("run", "ended", "steps", "not finite", "largest gradient", "loss", "BPB", "fell back", "weights")
    table, console = Table(*heads, box=None), Console()
    for row in rows:
        loss, bpb = ("" if value is None else f"{value:.3f}" for value in (row.loss, row.bpb))
        weights, back = "finite" if row.finite_weights else "NOT FINITE", "yes" if row.fell_back else "no"
        counts = (f"{row.steps:,}", str(row.nonfinite_steps), f"{row.largest_gradient:.3g}")
        table.add_row(row.run, row.ended, *counts, loss, bpb, back, weights)
    console.print(table)
    for row in rows:
        if row.message:
            console.print(f"{row.run} {row.ended}: {row.message}", markup=False, highlight=False)


def _args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", default="all", help="names with commas between (default: all sixteen)")
    parser.add_argument("--scale", choices=tuple(ladder.SCALES), default="nano")
    parser.add_argument("--steps", type=int, default=3000, help="default: 3000")
    parser.add_argument("--batch", type=int, help="windows a step (default: the scale's)")
    parser.add_argument("--data", default="python-stdlib", help="text (default: python-stdlib)")
    parser.add_argument("--jobs", type=int, default=1, help="runs trained at once (default: 1)")
    parser.add_argument(
        "--stress",
        type=float,
        nargs="?",
        const=STRESS,
        metavar="TIMES",
        help=f"multiply the learning rate by this (default: {STRESS:g}), without warm-up",
    )
    parser.add_argument("--out", type=Path, default=Path("runs/stability"), help="default: runs/stability")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the table there")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
