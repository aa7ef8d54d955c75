"""Commands that train many models: ladder, study, sweep."""

import argparse
import json
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING

from cpu1.cli.options import (
    CURVE_SHARES,
    Command,
    budget,
    cluster_options,
    jobs_option,
    json_option,
    out_option,
    round_name,
    scale_option,
    seeds_option,
    track_options,
    training_options,
    tuning,
    variation,
)
from cpu1.errors import UserError

if TYPE_CHECKING:
    from cpu1.study.start import Request

ETAS = (2, 4, 8)
ETA, FIRST_STOP = 4, "1/16"


def add(command: Command) -> None:
    """Adds the commands `ladder`, `study` and `sweep`."""
    p = command(ladder, "ladder", "ladder", "ladder --params", "ladder --params --json", "ladder --params --scale nano")
    p.add_argument(
        "--params", action="store_true", help="show the number of parameters, compared with the original study"
    )
    scale_option(p, "original")
    json_option(p)

    p = command(
        study,
        "study",
        "study --scale demo --round r1 --equal-bytes -o runs/demo",
        "study --runs 03,04 --seeds 3 --scale nano --round r2 --equal-bytes --data books/",
        "study --runs 03,04 --tune 03:rate=3e-3 --scale nano --round r2 --equal-bytes",
        "study --scale original --round r1",
        "study --scale nano --round r2 --on ray -o /shared/nano",
    )
    p.add_argument(
        "--runs", default="all", metavar="RUN[,RUN]", help="which models to train, like 03,04 (default: all)"
    )
    seeds_option(p, 1)
    out_option(p, "study folder (default: %(default)s)", "FOLDER", default="runs/study")
    training_options(p, threads="1")
    p.add_argument(
        "--equal-bytes", action="store_true", help="train every run on as much text as run 07 gets from --round"
    )
    p.add_argument(
        "--tune",
        type=tuning,
        action="append",
        default=[],
        metavar="RUN[,RUN]:NAME=VALUE",
        help="change a training setting for some runs only, like 02,03:rate=3e-3; repeatable",
    )
    jobs_option(p)
    cluster_options(p)
    track_options(p, "the study folder")

    p = command(
        sweep,
        "sweep",
        "sweep 04 --vary rate=3e-3,6e-3 --seeds 2 --bytes 4M",
        "sweep 03,04 --vary optimizer=adamw,muon --vary ffn=SwiGLU,ReLU2 -o runs/optimisers",
        "sweep 04 --alone --vary rate=3e-3,9e-3 --vary weight_decay=0 --vary z_loss=1e-4",
        "sweep 18 --alone --vary tables.rows=8192,65536 --vary 'tables.contexts=[3,4],[3,4,6]'",
        "sweep 04 --vary rate=3e-3,6e-3 --on ray://head:10001 --store s3://bucket/rates",
        "sweep 04 --vary rate=1e-3,2e-3,4e-3,8e-3 --vary batch=4,8,16 --search asha -o runs/search",
        "sweep 04 --vary rate=1e-3,2e-3,4e-3,8e-3 --search asha --eta 2 --first-stop 1/8 --on ray",
    )
    p.add_argument("runs", metavar="RUN[,RUN]", help="which models to train, like 03,04")
    p.add_argument(
        "--vary",
        type=variation,
        action="append",
        required=True,
        metavar="NAME=VALUE[,VALUE]",
        help="values to try for a setting (as in --set) or part of the architecture (as in --with); "
        "a value may be a list, like [3,4]; repeatable",
    )
    p.add_argument(
        "--alone",
        action="store_true",
        help="vary one value at a time against the unchanged run, instead of every combination",
    )
    p.add_argument(
        "--search",
        choices=("asha",),
        help="stop variants early that are behind on bits per byte, and finish the best: asha is asynchronous "
        "successive halving",
    )
    p.add_argument(
        "--eta",
        type=int,
        choices=ETAS,
        help="with --search: of the variants that were stopped, one in this many trains on, until it has this many "
        f"times as many steps (default: {ETA})",
    )
    p.add_argument(
        "--first-stop",
        choices=CURVE_SHARES,
        help=f"with --search: the share of its steps after which every variant stops first (default: {FIRST_STOP})",
    )
    seeds_option(p, None, "2; 1 with --search")
    out_option(p, "sweep folder (default: %(default)s)", "FOLDER", default="runs/sweep")
    training_options(p, threads="1")
    p.add_argument(
        "--teacher",
        type=Path,
        metavar="FOLDER",
        help="folder of a trained byte-level run, for variants that learn from a teacher",
    )
    jobs_option(p)
    cluster_options(p)
    track_options(p, "the sweep folder")


def ladder(args: argparse.Namespace) -> int:
    """List the models of the ladder and what each one changes."""
    from cpu1.report import ladder_table

    if args.json:
        rows = ladder_table.sizes(args.scale) if args.params else ladder_table.chain()
        print(json.dumps(rows, indent=1))
    elif args.params:
        ladder_table.print_sizes(args.scale)
    else:
        ladder_table.print_chain()
    return 0


def study(args: argparse.Namespace) -> int:
    """Train several models and write a report.

    Every combination of run and seed is trained; those that are finished are kept.
    """
    from dataclasses import replace

    from cpu1.study.start import start

    if args.equal_bytes and (args.bytes or args.minutes):
        raise UserError("--equal-bytes uses the budget of --round; leave out --bytes and --minutes")
    tuned = tuple((run, setting) for runs, setting in args.tune for run in runs)
    return start(replace(_study_request(args, args.equal_bytes), tuned=tuned))


def _study_request(args: argparse.Namespace, equal_bytes: bool) -> "Request":
    from cpu1.study.start import Request

    return Request(
        folder=args.out,
        runs=args.runs,
        seeds=args.seeds,
        scale=args.scale,
        round=round_name(args),
        budget=budget(args),
        equal_bytes=equal_bytes,
        data=args.data,
        field=args.field,
        jobs=args.jobs,
        threads=args.threads or 1,
        device=args.device,
        overrides=tuple(args.set),
        changes=tuple(args.changes),
        eval_bytes=args.eval_bytes,
        teacher_cache=args.teacher_cache,
        on=args.on,
        store=args.store,
        track=tuple(args.track),
        track_to=args.track_to,
    )


def sweep(args: argparse.Namespace) -> int:
    """Train variants of a model and print one table.

    Each variant differs in its settings or its architecture.
    """
    from cpu1.study.asha import Rule
    from cpu1.study.sweep import Sweep, start

    vary = dict(args.vary)
    if len(vary) < len(args.vary):
        raise UserError("--vary names one thing twice; put its values together: --vary rate=2e-3,4e-3")
    if args.search is None and (args.eta or args.first_stop):
        raise UserError("--eta and --first-stop are for a search; add --search asha")
    args.seeds = args.seeds or (1 if args.search else 2)
    request = _study_request(args, equal_bytes=not (args.bytes or args.minutes))
    rule = Rule(args.eta or ETA, Fraction(args.first_stop or FIRST_STOP)) if args.search else None
    return start(Sweep(request, vary, args.teacher, args.alone, rule))
