"""The command that tests a model's language."""

import argparse
import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cpu1.cli.options import (
    Command,
    byte_size,
    json_option,
    keep_inputs,
    model_option,
    model_path,
    out_option,
    positive,
    seed_option,
    threads_option,
)
from cpu1.errors import UserError

if TYPE_CHECKING:
    from cpu1.evaluation.language.work import CheckProgress


def add(command: Command) -> None:
    """Adds the command `check`."""
    p = command(
        check,
        "check",
        "check --blimp blimp.jsonl --lambada lambada_test.jsonl --threads 2",
        "check -m model.cpu1 --words train.txt --held-out valid.txt --temperature 1 --json",
        "check -m runs/07/model.cpu1 --blimp blimp.jsonl -o runs/07/language.json",
    )
    model_option(p)
    p.add_argument(
        "--blimp",
        type=Path,
        metavar="FILE",
        help="test grammar on pairs of sentences: JSON lines with uid, good and bad",
    )
    p.add_argument(
        "--lambada",
        type=Path,
        metavar="FILE",
        help="test the prediction of a passage's last word: JSON lines with text",
    )
    p.add_argument(
        "--words",
        nargs="+",
        metavar="SOURCE",
        help="training text: measure the share of generated words that occur in it",
    )
    p.add_argument(
        "--held-out", metavar="SOURCE", help="other real text, whose share of such words is printed for comparison"
    )
    p.add_argument(
        "--bytes",
        type=byte_size,
        default="64Ki",
        metavar="SIZE",
        help="amount of text to generate for --words (default: %(default)s)",
    )
    p.add_argument(
        "--temperature",
        type=float,
        default=0.8,
        metavar="T",
        help="randomness of the text generated for --words (default: %(default)s)",
    )
    seed_option(p, "seed of the text generated for --words")
    p.add_argument(
        "--limit", type=positive, metavar="N", help="use only N pairs of each kind and N passages (default: all)"
    )
    threads_option(p)
    json_option(p)
    out_option(p, "also write the JSON to this file; a model card includes language.json of its run folder")


def check(args: argparse.Namespace) -> int:
    """Test a model's grammar, last words and spelling.

    Grammar is measured with BLiMP, last words with LAMBADA, and spelling as the share of generated words
    that occur in the training text. Give at least one of --blimp, --lambada and --words.
    """
    from cpu1.data.sources import files
    from cpu1.evaluation.language import table
    from cpu1.files import write_json
    from cpu1.runtime.model import Model

    if not (args.blimp or args.lambada or args.words):
        raise UserError("nothing to check: give --blimp, --lambada or --words, each with a file")
    if args.held_out and not args.words:
        raise UserError("--held-out is compared with --words, which is missing")
    texts = (*(args.words or ()), args.held_out or "-")
    read = [file for source in texts for file in files(source)]
    keep_inputs(args.out, model_path(args), args.blimp, args.lambada, *read)
    model = Model(model_path(args))
    scores = {"model": model.path.name, "run": model.about["run"], **_checks(model, args)}
    if args.out:
        write_json(args.out, scores)
    if args.json:
        print(json.dumps(scores, indent=1, ensure_ascii=False))
    else:
        print("\n".join(table.lines(scores)))
    return 0


def _checks(model: Any, args: argparse.Namespace) -> dict[str, Any]:
    from cpu1.evaluation.language import blimp, lambada
    from cpu1.evaluation.language import vocabulary as words
    from cpu1.evaluation.language.reading import text_chunks

    scores: dict[str, Any] = {}
    if args.blimp:
        pairs = blimp.read_pairs(args.blimp, args.limit)
        scores["blimp"] = blimp.check(model, pairs, args.threads, _counter("BLiMP pairs"))
    if args.lambada:
        passages = lambada.read_passages(args.lambada, args.limit)
        scores["lambada"] = lambada.check(model, passages, args.threads, _counter("LAMBADA passages"))
    if args.words:
        known = words.vocabulary(chunk for source in args.words for chunk in text_chunks(source))
        scores["words"] = words.check(
            model, known, args.bytes, args.temperature, args.seed, args.threads, _counter("samples")
        )
        if args.held_out:
            scores["words"]["heldout"] = words.share_of_text(known, text_chunks(args.held_out))
    return scores


def _counter(name: str) -> "CheckProgress | None":
    """Shows the progress of a check on a terminal."""
    if not sys.stderr.isatty():
        return None

    def show(done: int, total: int) -> None:
        print(f"\r{name}: {done:,} of {total:,}" + ("\n" if done == total else ""), end="", file=sys.stderr, flush=True)

    return show
