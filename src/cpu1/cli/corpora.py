"""Scoring on a cluster, a part of the command `score`."""

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from cpu1.cli.options import keep_inputs
from cpu1.errors import UserError

if TYPE_CHECKING:
    from cpu1.corpora.files import Wish

CLUSTER_ONLY = ("out", "buckets")


def check(args: argparse.Namespace) -> None:
    """Refuses options of a cluster without one, and those that a cluster has not."""
    if args.on is None:
        if len(args.files) > 1:
            raise UserError(
                "several files are scored on a cluster: add --on ray, or use `cpu1 judge`; name a model with -m FILE"
            )
        for name in CLUSTER_ONLY:
            if getattr(args, name) is not None:
                raise UserError(f"--{name} is for --on ray; without it the figure goes to standard output")
    elif args.learn or args.adapter:
        raise UserError("--learn and --adapter: a cluster scores each text alone; leave them out, or --on")
    elif args.json == (args.out is not None):
        raise UserError("--on ray: name either --out FILE, or --json for lines on standard output")


def score(args: argparse.Namespace) -> int:
    """Scores files of many texts; the exit status is 1 where lines could not be scored."""
    from cpu1.cli.options import model_path
    from cpu1.corpora.buckets import SHARES
    from cpu1.corpora.files import Wish, scored_lines, write_scored

    wish = Wish([str(file) for file in args.files], args.field, args.on, model_path(args), args.buckets or SHARES)
    if args.json:
        for line in scored_lines(wish):
            print(line)
        return 0
    _keep(args.out, wish)
    found = write_scored(wish, args.out)
    without = f", {found.wrong:,} without a text" if found.wrong else ""
    print(f"{args.out}: {found.rows:,} texts{without}")
    return int(bool(found.wrong))


def _keep(out: Path, wish: "Wish") -> None:
    from cpu1.corpora.files import ADDRESS
    from cpu1.data.paths import find_files

    keep_inputs(out, *(path for source in wish.sources if ADDRESS not in source for path in find_files(source)))


def shares(text: str) -> tuple[float, ...]:
    """LOW,HIGH as two numbers."""
    try:
        low, high = map(float, text.split(","))
        if 0 < low < high < 100:
            return low, high
    except ValueError:
        pass
    raise argparse.ArgumentTypeError(f"{text!r} is not two per cents that rise, like 30,60")
