"""The training step of `make gpu`: runs of the ladder, several at once on one card, by the study's own runner.

    python bench/gpu_train.py STUDY --data TEXT [--device cuda] [--stages base-r1:04,07 small-r2:18] [--at-once 4]

Started by gpu_study.py. SIGINT lets running ones save and ends it; called again, it resumes. With --prepare it only
reads the text, and trains the tokenizers that the runs need, once for all of them; with --score it only scores what is
finished on held-out sets.
"""

import argparse
import importlib.util
import os
import re
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import gpu_here
from rich.console import Console

from cpu1.cli import main as cpu1
from cpu1.cli.options import named, setting
from cpu1.data.bpe import tokenize
from cpu1.data.corpus import describe, prepare
from cpu1.device import choose
from cpu1.errors import UserError
from cpu1.model import ladder
from cpu1.ops.native import native_available
from cpu1.study.held_out import Request as ScoreRequest
from cpu1.study.held_out import score_study
from cpu1.study.plan import Job, Plan, make_jobs, record
from cpu1.study.runner import at_work, run_jobs
from cpu1.study.start import Request, make_plan

RUN = "--run-one"  # the first word where this script is the training command of one run


class Stage(NamedTuple):
    """Runs of the ladder at one scale, for one round."""

    scale: str
    round: str
    runs: tuple[str, ...]
    settings: tuple[str, ...] = ()  # of these runs alone, like "batch=32"


STAGES = (  # what is worth most first
    Stage("base", "r1", ("04", "18", "03", "07", "02", "17", "01", "02a", "05", "06", "08", "09", "10", "05b")),
    Stage("small", "r2", ("18", "04")),
    Stage("base", "r2", ("18", "04", "07")),
)


def main() -> int:
    gpu_here.end_with_parent()
    if sys.argv[1:2] == [RUN]:
        return cpu1(["train", *sys.argv[2:]])
    args = _parse()
    try:
        if args.prepare:
            return prepared(args)
        if args.score:
            return scored(args)
        with at_work(args.study):
            jobs = list(all_jobs(args))
            return run_jobs(jobs, args.at_once, (sys.executable, __file__, RUN), Console())
    except UserError as error:
        print(f"bench/gpu_train.py: {error}", file=sys.stderr)
        return 2


def stage(text: str) -> Stage:
    """SCALE-ROUND:RUN,RUN[:SETTING=VALUE,...] as a stage. Raises ArgumentTypeError for anything else."""
    known = re.fullmatch(r"(\w+)-(r\d):([\w,]+)(?::(\w+=[\w.,=+-]+))?", text)
    if not known or known[1] not in ladder.SCALES:
        raise argparse.ArgumentTypeError(f"{text}: write SCALE-ROUND:RUNS like base-r1:04,07 or small-r2:18:batch=32")
    return Stage(known[1], known[2], tuple(known[3].split(",")), tuple((known[4] or "").split(",")) if known[4] else ())


def trainable(runs: tuple[str, ...]) -> tuple[str, ...]:
    """Those of `runs` that can be trained here: some need a library, or native parts, that a bare machine may lack."""
    wants = {run: lacking(run) for run in runs}
    for run, want in wants.items():
        if want:
            print(f"run {run} is not trained, for want of {want}")
    return tuple(run for run, want in wants.items() if not want)


def lacking(run: str) -> str | None:
    """What a run needs and this machine lacks."""
    recipe = ladder.find(run).recipe
    if recipe.level == "token" and not importlib.util.find_spec("tokenizers"):
        return "the library tokenizers"
    if recipe.recall is not None and not native_available():
        return "the native parts: in plain Python, the memories of a large text take days"
    return None


def all_jobs(args: argparse.Namespace) -> Iterator[Job]:
    titles = {run: rung.title for run, rung in ladder.LADDER.items()}
    for each in args.stages:
        if able := trainable(each.runs):
            plan = plan_of(args, each._replace(runs=able))
            record(plan)
            yield from make_jobs(plan, {}, titles)


def plan_of(args: argparse.Namespace, stage: Stage) -> Plan:
    """As `cpu1 study --equal-bytes` would have it: all runs of a round see as many bytes."""
    tuned = tuple((run, setting) for run in stage.runs for setting in stage.settings)
    request = Request(folder=args.study, runs=",".join(stage.runs), seeds=1, scale=stage.scale, round=stage.round,
                      budget=None, equal_bytes=True, tuned=tuned, data=args.data, field="text", jobs=args.at_once,
                      threads=args.threads, device=args.device, overrides=tuple(args.set), changes=(),
                      eval_bytes=args.eval_bytes)  # fmt: skip
    plan = make_plan(request)
    return replace(plan, extra=(*plan.extra, "--checkpoint-seconds", str(args.checkpoint_seconds)))


def prepared(args: argparse.Namespace) -> int:
    """Reads the text once for all runs."""
    corpus = prepare(args.data)
    print(describe(corpus))
    recipes = {ladder.recipe(run, each.scale) for each in args.stages for run in each.runs if not lacking(run)}
    for vocabulary in sorted({each.embedding.vocabulary for each in recipes if each.level == "token"}):
        tokenize(corpus, vocabulary)
    return 0


def scored(args: argparse.Namespace) -> int:
    """Scores finished runs on texts, where one has not been."""
    ask = ScoreRequest(args.study, dict(args.score), "text", args.held_out_bytes, choose(args.device))
    score_study(ask, print)
    return 0


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("study", type=Path, metavar="STUDY")
    parser.add_argument("--data", required=True)
    parser.add_argument("--device", choices=("cuda", "cpu"), default="cuda")
    parser.add_argument("--stages", type=stage, nargs="+", default=STAGES, metavar="SCALE-ROUND:RUNS")
    parser.add_argument("--at-once", type=int, default=4)
    parser.add_argument("--threads", type=int, default=max(1, (os.cpu_count() or 1) // 8))
    parser.add_argument("--set", type=setting, action="append", default=[], metavar="NAME=VALUE")
    parser.add_argument("--eval-bytes", type=int, default=256 * 1024)
    parser.add_argument("--checkpoint-seconds", type=int, default=45)
    parser.add_argument("--prepare", action="store_true")
    parser.add_argument("--score", type=named, action="append", default=[], metavar="NAME=TEXT")
    parser.add_argument("--held-out-bytes", type=int, default=2**20, help="of each third of a text")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
