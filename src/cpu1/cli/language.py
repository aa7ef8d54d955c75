"""The verb that checks a model's language."""

import argparse
import json
import sys
from pathlib import Path
from typing import Any

from cpu1.cli.options import Verb, byte_size, count, positive
from cpu1.cli.words import DEFAULT_HELP
from cpu1.errors import UserError
from cpu1.evaluation.language.work import CheckProgress
from cpu1.files import write_json


def add(verb: Verb) -> None:
    p = verb(check, "check", "check model.cpu1 --blimp blimp.jsonl --lambada lambada_test.jsonl --threads 2\n"
             "check model.cpu1 --words train.txt --held-out valid.txt --temperature 1 --json\n"
             "check runs/07/model.cpu1 --blimp blimp.jsonl --out runs/07/language.json")  # fmt: skip
    p.add_argument("model", type=Path, nargs="?", help=f"a packed file (default: {DEFAULT_HELP})")
    p.add_argument("--blimp", type=Path, metavar="FILE", help="minimal pairs, JSON lines with uid, good, bad")
    p.add_argument("--lambada", type=Path, metavar="FILE", help="passages, JSON lines with text")
    p.add_argument("--words", nargs="+", metavar="TEXT", help="the training text, in which written words should be")
    p.add_argument("--held-out", metavar="TEXT", help="text whose own share of such words is shown beside")
    p.add_argument("--bytes", type=byte_size, default=64 << 10, help="of samples for --words (default: 64Ki)")
    p.add_argument("--temperature", type=float, default=0.8, help="of samples for --words (default: 0.8)")
    p.add_argument("--seed", type=count, default=0)
    p.add_argument("--limit", type=positive, help="only so many pairs of each paradigm, and so many passages")
    p.add_argument("--threads", type=positive, default=1)
    p.add_argument("--json", action="store_true")
    p.add_argument("--out", type=Path, metavar="FILE", help="also write the JSON here; as language.json in a run "
                   "folder it comes into the model card")  # fmt: skip


def check(words: argparse.Namespace) -> int:
    """Checks a packed model's language: grammar (BLiMP), last words (LAMBADA), the share of real words it writes."""
    from cpu1.evaluation.language import table
    from cpu1.runtime.default import default_model
    from cpu1.runtime.model import PackedModel

    if not (words.blimp or words.lambada or words.words):
        raise UserError("nothing to check: give --blimp, --lambada or --words, each with a file")
    if words.held_out and not words.words:
        raise UserError("--held-out is beside --words, which is not given")
    model = PackedModel(words.model or default_model())
    found = {"model": model.path.name, "run": model.about["run"], **_checks(model, words)}
    if words.out:
        write_json(words.out, found)
    if words.json:
        print(json.dumps(found, indent=1, ensure_ascii=False))
    else:
        print("\n".join(table.lines(found)))
    return 0


def _checks(model: Any, words: argparse.Namespace) -> dict[str, Any]:
    from cpu1.evaluation.language import blimp, lambada
    from cpu1.evaluation.language import vocabulary as real
    from cpu1.evaluation.language.reading import text_chunks

    found: dict[str, Any] = {}
    if words.blimp:
        pairs = blimp.read_pairs(words.blimp, words.limit)
        found["blimp"] = blimp.check(model, pairs, words.threads, _counter("BLiMP pairs"))
    if words.lambada:
        passages = lambada.read_passages(words.lambada, words.limit)
        found["lambada"] = lambada.check(model, passages, words.threads, _counter("LAMBADA passages"))
    if words.words:
        known = real.vocabulary(chunk for source in words.words for chunk in text_chunks(source))
        size, seed = int(words.bytes), words.seed
        found["words"] = real.check(model, known, size, words.temperature, seed, words.threads, _counter("samples"))
        if words.held_out:
            found["words"]["heldout"] = real.share_of_text(known, text_chunks(words.held_out))
    return found


def _counter(name: str) -> CheckProgress | None:
    """Shows on a terminal how far a check is."""
    if not sys.stderr.isatty():
        return None

    def show(done: int, total: int) -> None:
        print(f"\r{name}: {done:,} of {total:,}" + ("\n" if done == total else ""), end="", file=sys.stderr, flush=True)

    return show
