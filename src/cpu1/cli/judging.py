"""The command that judges texts."""

import argparse
import json
import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from cpu1.cli.meter import Meter
from cpu1.cli.options import (
    STANDARD,
    Command,
    count,
    field_option,
    json_option,
    model_option,
    model_path,
    out_option,
    positive,
    quiet_option,
)
from cpu1.errors import UserError

if TYPE_CHECKING:
    from cpu1.judging.judge import Judge, Judgement

COLOURS = {"ordinary": "32", "unusual": "33", "suspect": "31", "predictable": "36"}  # of ANSI terminals


def add(command: Command) -> None:
    """Adds the command `judge`."""
    p = command(
        judge,
        "judge",
        "judge page.txt",
        "judge scans/ --jobs 2",
        "judge --better first.txt second.txt",
        "judge --jsonl posts.jsonl --field body > judged.jsonl",
        "judge --calibrate mine/ -m mine.cpu1",
    )
    p.add_argument(
        "sources",
        nargs="*",
        default=[STANDARD],
        metavar="SOURCE",
        help="files, folders or quoted globs with text, or - for standard input (the default)",
    )
    model_option(p)
    p.add_argument("--better", action="store_true", help="name two readings of one text; gives which is the better one")
    p.add_argument(
        "--jsonl",
        action="store_true",
        help="read one JSON object a line, and print each again with its judgement in the field judge",
    )
    field_option(p)
    p.add_argument(
        "--worst", type=count, default=3, metavar="N", help="show the N worst passages (default: %(default)s)"
    )
    json_option(p)
    p.add_argument(
        "--calibrate",
        action="store_true",
        help="read ordinary text that the model was not trained on, and write what its figures mean",
    )
    p.add_argument(
        "--calibration",
        type=Path,
        metavar="FILE",
        help="what --calibrate wrote (default: MODEL.judge.json next to the model, else what comes with cpu1)",
    )
    out_option(p, "where --calibrate writes (default: MODEL.judge.json next to the model)")
    p.add_argument("--jobs", type=positive, metavar="N", help="texts read at once (default: one per core)")
    quiet_option(p)


def judge(args: argparse.Namespace) -> int:
    """Find damaged, foreign or senseless text, and its worst passages.

    The figure is bits per byte: the fewer, the better a model predicts the text. Its percentile compares it with
    ordinary texts of the same length: 99 means that 99 of 100 such texts cost fewer bits a byte.
    """
    _check(args)
    if args.calibrate:
        return _calibrate(args)
    from cpu1.judging.judge import Judge

    judge = Judge(model_path(args), args.calibration)
    if judge.calibration is None:
        print(
            f"cpu1: note: {judge.model.path} has no calibration, so there are no percentiles; "
            "`cpu1 judge --calibrate TEXT` makes one",
            file=sys.stderr,
        )
    with Meter(args.quiet) as meter:
        if args.better:
            return _better(judge, args, meter)
        return _lines(judge, args, meter) if args.jsonl else _texts(judge, args, meter)


def _check(args: argparse.Namespace) -> None:
    """Refuses options that do not fit together."""
    chosen = [name for name in ("better", "jsonl", "calibrate") if getattr(args, name)]
    if len(chosen) > 1:
        raise UserError(f"--{chosen[0]} and --{chosen[1]}: choose one of them")
    if args.better and len(args.sources) != 2:
        raise UserError(f"--better needs two texts, and there are {len(args.sources)}")
    if args.jsonl and len(args.sources) != 1:
        raise UserError(f"--jsonl reads one file, and there are {len(args.sources)}")
    if args.out and not args.calibrate:
        raise UserError("-o is for --calibrate; the judgements go to standard output")
    if args.sources.count(STANDARD) > 1:
        raise UserError("standard input can be read only once")


def _jobs(args: argparse.Namespace) -> int:
    return args.jobs or len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else args.jobs or 1


def _texts(judge: "Judge", args: argparse.Namespace, meter: Meter) -> int:
    from cpu1.judging.readers import named_documents

    names: list[str] = []

    def documents() -> Iterator[bytes]:
        for source in args.sources:
            for named in named_documents(source, args.field, sys.stdin.buffer):
                names.append(named.name)
                yield named.text

    judged = 0
    for found in judge.each(documents(), _jobs(args), args.worst, meter.read):
        meter.clear()
        name = names.pop(0)
        if args.json:
            print(json.dumps({"name": name} | found.to_json()), flush=True)
        else:
            _show(name, found)
        judged += 1
    if not judged:
        raise UserError(f"{', '.join(args.sources)}: no text, nothing to judge")
    return 0


def _lines(judge: "Judge", args: argparse.Namespace, meter: Meter) -> int:
    """A line out for each line in. Those that cannot be judged say why, and the status is 1."""
    from cpu1.judging.readers import Record, records

    waiting: list[Record] = []
    wrong: list[Record] = []

    def texts() -> Iterator[bytes]:
        for record in records(args.sources[0], args.field, sys.stdin.buffer):
            waiting.append(record)
            yield record.text

    for found in judge.each(texts(), _jobs(args), args.worst, meter.read):
        meter.clear()
        record = waiting.pop(0)
        if record.error:
            wrong.append(record)
        about = {"error": record.error, "line": record.number} if record.error else found.to_json()
        print(json.dumps({**(record.record or {}), "judge": about}), flush=True)
    if wrong:
        first = wrong[0]
        print(
            f"cpu1: note: {args.sources[0]}: {len(wrong):,} lines could not be judged; the first: line {first.number}: "
            f"{first.error}",
            file=sys.stderr,
        )
    return int(bool(wrong))


def _better(judge: "Judge", args: argparse.Namespace, meter: Meter) -> int:
    from cpu1.cli.options import input_bytes

    texts = []
    for source in args.sources:
        texts.append(input_bytes(Path(source)))
        if not texts[-1]:
            raise UserError(f"{source}: empty, there is nothing to compare")
    found = judge.better(texts[0], texts[1], _jobs(args), args.worst)
    meter.clear()
    names = args.sources
    better = None if found.better is None else names[found.better]
    if args.json:
        readings = [{"name": name} | each.to_json() for name, each in zip(names, found.readings, strict=True)]
        print(json.dumps({"better": better, "bits_per_byte": round(found.bits_per_byte, 4), "readings": readings}))
        return 0
    for name, each in zip(names, found.readings, strict=True):
        _show(name, each)
    print("they are alike" if better is None else f"better: {better}, by {found.bits_per_byte:.3f} bits per byte")
    return 0


def _calibrate(args: argparse.Namespace) -> int:
    from cpu1.judging.calibration import beside_model, calibrate
    from cpu1.judging.readers import named_documents
    from cpu1.runtime.model import Model

    model = Model(model_path(args))
    out = args.out or beside_model(model.path)
    documents = (
        named.text for source in args.sources for named in named_documents(source, args.field, sys.stdin.buffer)
    )
    with Meter(args.quiet) as meter:
        found = calibrate(model, documents, _jobs(args), meter.read)
    found.write(out)
    print(f"{out}: {found.texts:,} texts of {found.lengths[0]:,} to {found.lengths[-1]:,} bytes")
    return 0


def _show(name: str, found: "Judgement") -> None:
    """A line for the text, and one for each of its worst passages."""
    from cpu1.judging.passages import excerpt

    colours = sys.stdout.isatty() and "NO_COLOR" not in os.environ
    paint: Callable[[str, str], str] = (lambda text, code: f"\033[{code}m{text}\033[0m") if colours else _plain
    place = "" if found.percentile is None else f"percentile {_percent(found.percentile)}, "
    verdict = paint(found.verdict, COLOURS.get(found.verdict, "0"))
    print(f"{name}: {found.bits_per_byte:.3f} bits per byte, {place}{verdict}, {len(found.text):,} bytes")
    for each in found.passages:
        marks = ("\033[41;97m", "\033[0m") if colours else ("[[", "]]")
        print(
            f"  {each.start:,}-{each.end:,}: {each.bits_per_byte:.2f} bits per byte  {excerpt(found.text, each, marks)}"
        )
    sys.stdout.flush()


def _plain(text: str, code: str) -> str:
    return text


def _percent(value: float) -> str:
    """99.97 must not look like 100, nor 0.02 like 0."""
    whole = 1 <= value <= 99 or value in (0, 100)
    return f"{value:.0f}" if whole else f"{min(max(value, 0.1), 99.9):.1f}"
