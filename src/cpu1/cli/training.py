"""The verb that trains one run."""

import argparse
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from cpu1.cli.options import Verb, budget, count, round_name, training_options


def add(verb: Verb) -> None:
    p = verb(train, "train", "train 07\ntrain 07 --scale small --round r1 --data books.txt.zst\n"
             "train 14 --teacher runs/02-nano-r1-s0\ntrain 04 --minutes 5 --set rate=0.002\n"
             "train 04 --data books.txt.zst --teacher-cache cache/books --set alpha=0.5\n"
             "train 04 --with ffn=ReLU2 --with head.hidden=512 --out runs/relu2")  # fmt: skip
    p.add_argument("run", help="a run of the ladder: 01, 02a, ... 16")
    p.add_argument("--out", type=Path, help="run folder (default: runs/RUN-SCALE-ROUND-sSEED); resumed if it exists")
    p.add_argument("--seed", type=count, default=0)
    training_options(p)
    p.add_argument("--shard", action="store_true", help="with torchrun: split the model among the processes (FSDP2)")
    p.add_argument("--teacher", type=Path, help="folder of a trained byte-level run (runs 14 and 15)")
    p.add_argument("--checkpoint-seconds", type=count, default=60, metavar="N",
                   help="save about so often (default: 60; 0: after every step)")  # fmt: skip
    p.add_argument("--tensorboard", action="store_true", help="also write TensorBoard events into the run folder")
    p.add_argument("--quiet", action="store_true", help="no progress bar")


def train(words: argparse.Namespace) -> int:
    """Trains or resumes one run."""
    from cpu1.training.job import Job
    from cpu1.training.job import train as run
    from cpu1.training.loop import Interrupted
    from cpu1.training.parallel import Ranks

    leads = Ranks.read().rank == 0  # only one process of a group talks
    round = round_name(words)
    folder = words.out or Path("runs") / f"{words.run.removeprefix('run_')}-{words.scale}-{round}-s{words.seed}"
    job = Job(
        run=words.run,
        folder=folder,
        scale=words.scale,
        round=round,
        budget=budget(words),
        seed=words.seed,
        data=words.data,
        field=words.field,
        threads=words.threads,
        device=words.device,
        shard=words.shard,
        teacher=words.teacher,
        teacher_cache=words.teacher_cache,
        overrides=tuple(words.set),
        changes=tuple(words.changes),
        eval_bytes=int(words.eval_bytes),
        tensorboard=words.tensorboard,
        checkpoint_seconds=words.checkpoint_seconds,
    )
    try:
        with _training_report(words.quiet or not leads, folder) as report:
            result = run(job, report)
    except Interrupted:
        if leads:
            print(f"cpu1: interrupted and saved; run the same command again to go on ({folder})", file=sys.stderr)
        return 130
    if leads and not words.quiet:
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


class _training_report:
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
        if isinstance(line, str):
            self.bar.console.print(line, highlight=False)
            return
        from cpu1.files import read_json

        self.steps = self.steps or read_json(self.folder / "settings.json")["steps"]
        speed, bpb = line["bytes_per_s"] or 0.0, line["bpb"]
        note = (
            f"step {line['step']}  bpb {bpb:.3f}  {speed / 1e3:.0f} KB/s" if bpb is not None else f"step {line['step']}"
        )
        self.bar.update(self.task, completed=line["step"], total=self.steps, note=note)
