"""The command that trains one run."""

import argparse
import sys
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path
from typing import Any

from cpu1.cli.options import (
    CURVE_SHARES,
    Command,
    budget,
    count,
    out_option,
    quiet_option,
    round_name,
    seed_option,
    track_options,
    training_options,
)
from cpu1.errors import UserError


def add(command: Command) -> None:
    """Adds the command `train`."""
    p = command(
        train,
        "train",
        "train 07",
        "train 07 --scale small --round r1 --data books.txt.zst",
        "train 14 --teacher runs/02-nano-r1-s0",
        "train 04 --minutes 5 --set rate=0.002",
        "train 04 --data books.txt.zst --teacher-cache cache/books --set alpha=0.5",
        "train --from default --data mine.txt --minutes 10 -o runs/mine",
        "train 04 --with ffn=ReLU2 --with head.hidden=512 -o runs/relu2",
        "train 04 --until 1/16",
    )
    p.add_argument(
        "run",
        nargs="?",
        metavar="RUN",
        help="which model to train: 01, 02a, ... 16, listed by `cpu1 ladder`; not needed with --from",
    )
    p.add_argument(
        "--from",
        dest="start",
        type=Path,
        metavar="MODEL",
        help="start from the weights of a run folder or a packed file, or of the bundled model (default); "
        "needs -o; trains one pass over the text without --bytes or --minutes",
    )
    out_option(p, "run folder to write; training resumes if it exists (default: runs/RUN-SCALE-ROUND-sSEED)", "FOLDER")
    seed_option(p, "seed of the initial weights and of the order of the text")
    training_options(p, threads="all cores", scale=None)
    p.add_argument("--shard", action="store_true", help="with torchrun: split the model among the processes (FSDP2)")
    p.add_argument(
        "--teacher",
        type=Path,
        metavar="FOLDER",
        help="folder of a trained byte-level run to learn from; needed by runs 14 and 15",
    )
    p.add_argument(
        "--checkpoint-seconds",
        type=count,
        default=60,
        metavar="SECONDS",
        help="time between checkpoints; 0 saves after every step (default: %(default)s)",
    )
    p.add_argument(
        "--until",
        choices=CURVE_SHARES,
        help="save and stop after this share of the steps; without it, the same command trains the rest",
    )
    p.add_argument("--tensorboard", action="store_true", help="the same as --track tensorboard")
    track_options(p, "the run folder")
    quiet_option(p)


def train(args: argparse.Namespace) -> int:
    """Train one model, or resume its training.

    When it is interrupted, the same command continues from the last checkpoint and ends with the same weights.
    """
    from cpu1.training.job import Job
    from cpu1.training.job import train as run
    from cpu1.training.loop import Interrupted, Reached
    from cpu1.training.parallel import Ranks

    leads = Ranks.read().rank == 0  # only one process of a group prints
    if args.start and not args.out:
        raise UserError("--from needs -o FOLDER, a folder for the new run")
    if not args.start and not args.run:
        raise UserError("name a RUN of the ladder, or with --from the weights to start from")
    scale = args.scale or (None if args.start else "nano")
    round = args.round if args.start else round_name(args)
    folder = args.out or Path("runs") / f"{args.run.removeprefix('run_')}-{scale}-{round}-s{args.seed}"
    job = Job(
        run=args.run,
        folder=folder,
        scale=scale,
        round=round,
        budget=budget(args),
        seed=args.seed,
        data=args.data,
        field=args.field,
        threads=args.threads,
        device=args.device,
        shard=args.shard,
        teacher=args.teacher,
        teacher_cache=args.teacher_cache,
        start=_weights(args.start),
        overrides=tuple(args.set),
        changes=tuple(args.changes),
        eval_bytes=args.eval_bytes,
        track=(*args.track, *(["tensorboard"] if args.tensorboard else [])),
        track_to=args.track_to,
        checkpoint_seconds=args.checkpoint_seconds,
        until=Fraction(args.until) if args.until else None,
    )
    try:
        with training_report(args.quiet or not leads, folder) as report:
            result = run(job, report)
    except Reached:
        if leads and not args.quiet:
            print(f"stopped after {args.until} of the steps, saved in {folder}; without --until it trains the rest")
        return 0
    except Interrupted:
        if leads:
            print(f"cpu1: interrupted and saved in {folder}; run the same command again to continue", file=sys.stderr)
        return 130
    if leads and not args.quiet:
        print(_headline(result))
        print(f"run folder: {folder}")
    return 0


def _headline(result: dict[str, Any]) -> str:
    from cpu1.evaluation.statistics import Interval

    low, high = result["bpb_interval"]
    bits = Interval(result["bpb"], low, high, seeds=False)
    return (
        f"run_{result['run']}  {result['title']}: {bits:.4f} bits per byte, "
        f"val loss {result['val_loss']:.4f}, byte frequencies {result['frequency_bpb']:.3f}, "
        f"{result['train']['bytes_per_s'] / 1e3:.0f} KB/s, non-finite steps {result['nonfinite_steps']}, "
        f"generation {result['generation']['verdict']}"
    )


def _weights(start: Path | None) -> Path | None:
    """What --from means: `default` is the model that commands use without -m, unless something has that name."""
    from cpu1.runtime.default import default_model

    return default_model() if start == Path("default") and not start.exists() else start


class training_report:
    """A progress bar fed by the lines of metrics; nothing when quiet."""

    def __init__(self, quiet: bool, folder: Path) -> None:
        self.quiet, self.folder, self.steps = quiet, folder, 0

    def __enter__(self) -> Callable[[Any], None]:
        from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

        columns = (
            TextColumn("{task.description}"),
            BarColumn(),
            TextColumn("{task.fields[note]}"),
            TimeRemainingColumn(),
        )
        self.bar = Progress(*columns, disable=self.quiet)
        self.bar.start()
        self.task = self.bar.add_task("training", total=None, note="preparing the text")
        return self.show

    def __exit__(self, *_: object) -> None:
        self.bar.stop()

    def show(self, line: str | dict[str, Any]) -> None:
        """Prints a text above the bar, or moves it to a line of metrics."""
        if isinstance(line, str):
            self.bar.console.print(line, highlight=False, soft_wrap=True)
            return
        from cpu1.files import read_json

        self.steps = self.steps or read_json(self.folder / "settings.json")["steps"]
        speed, bpb = line["bytes_per_s"] or 0.0, line["bpb"]
        note = (
            f"step {line['step']}  bpb {bpb:.3f}  {speed / 1e3:.0f} KB/s" if bpb is not None else f"step {line['step']}"
        )
        self.bar.update(self.task, completed=line["step"], total=self.steps, note=note)
