"""Commands that report on a study: held-out, compare, report, gather."""

import argparse
import json
from pathlib import Path

from cpu1.cli.options import (
    Command,
    byte_size,
    device_option,
    field_option,
    json_option,
    named,
    out_option,
    threads_option,
)
from cpu1.errors import UserError


def add(command: Command) -> None:
    """Adds the commands `held-out`, `compare`, `report` and `gather`."""
    p = command(
        held_out,
        "held-out",
        "held-out runs/study --text wikitext2=wikitext2.test.raw.txt",
        "held-out runs/study --text books=books.valid.txt --text tech='tech/*.zst' --max-bytes 1M",
    )
    _study(p)
    p.add_argument(
        "--text",
        type=named,
        action="append",
        required=True,
        metavar="NAME=SOURCE",
        dest="texts",
        help="a text to score and its name in the report; repeatable",
    )
    field_option(p)
    p.add_argument(
        "--max-bytes",
        type=byte_size,
        default="1Mi",
        metavar="SIZE",
        help="bytes scored per third of each text (default: %(default)s)",
    )
    threads_option(p, default="all cores")
    device_option(p)

    p = command(compare, "compare", "compare results/nano-r2.jsonl 04 03", "compare runs/study 04 03 --json")
    _study(p)
    p.add_argument("first", metavar="RUN", help="name of a run in the study, like 04")
    p.add_argument("second", metavar="BASE", help="name of the run to compare it with, like 03")
    json_option(p)

    p = command(report, "report", "report runs/demo", "report runs/demo -o docs/demo")
    _study(p)
    out_option(p, "folder for report.md, report.json and report.html (default: the study folder)", "FOLDER")

    p = command(gather, "gather", "gather runs/study -o results/study.jsonl")
    _study(p)
    out_option(p, "file to write, one line of JSON a run", "FILE", required=True)


def _study(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "study", type=Path, metavar="STUDY", help="study folder of `cpu1 study`, or a file of `cpu1 gather`"
    )


def held_out(args: argparse.Namespace) -> int:
    """Score the runs of a study on other texts.

    The report of the study is written again with the scores.
    """
    import torch
    from rich.console import Console

    from cpu1.data.sources import files
    from cpu1.device import choose
    from cpu1.files import apart
    from cpu1.report.write import FILES, write_report
    from cpu1.study.held_out import Request, score_study

    if args.threads:
        torch.set_num_threads(args.threads)
    texts = dict(args.texts)
    if len(texts) < len(args.texts):
        raise UserError("--text gives one name to two texts")
    for name in FILES:
        apart(args.study / name, (file for source in texts.values() for file in files(source)))
    request = Request(args.study, texts, args.field, args.max_bytes, choose(args.device))
    with Console().status("preparing the texts") as status:
        scored = score_study(request, progress=status.update)
    write_report(args.study)
    print(f"{scored} scored, the others were there; written: {args.study}/report.md, report.json, report.html")
    return 0


def compare(args: argparse.Namespace) -> int:
    """Compare two runs of a study on every text.

    Prints the difference in bits per byte and its 95% interval.
    """
    from cpu1.report.comparison import compare_runs, print_comparison, to_json

    lines = compare_runs(args.study, args.first, args.second)
    if args.json:
        print(json.dumps(to_json(lines), indent=1))
    else:
        print_comparison(lines, args.first, args.second)
    return 0


def report(args: argparse.Namespace) -> int:
    """Write the report of a study again."""
    from cpu1.report.render.terminal import print_report
    from cpu1.report.write import write_report

    print_report(write_report(args.study, args.out))
    print(f"written: {args.out or args.study}/report.md, report.json, report.html")
    return 0


def gather(args: argparse.Namespace) -> int:
    """Write what the runs of a study reached into one file.

    `report` and `compare` read such a file as they read a study folder.
    """
    from cpu1.runs.studies import gather as write

    count = write(args.study, args.out)
    print(f"{args.out}: {count} runs")
    return 0
