"""The command that completes words."""

import argparse
import json
import sys
from typing import TYPE_CHECKING

from cpu1.cli.options import (
    STANDARD,
    Command,
    adapter_option,
    byte_size,
    json_option,
    learn_option,
    model_option,
    model_path,
    opened_model,
    positive,
    threads_option,
)
from cpu1.errors import UserError

if TYPE_CHECKING:
    from cpu1.completing import Reader


def add(command: Command) -> None:
    """Adds the command `complete`."""
    p = command(
        complete,
        "complete",
        'complete "Once upon a ti" -n 3',
        "complete - --json < letter.txt",
        "complete --stdin < requests.jsonl",
    )
    p.add_argument(
        "prefix", nargs="?", metavar="PREFIX", help="text up to the cursor, or - to read it from standard input"
    )
    model_option(p)
    p.add_argument("-n", type=positive, default=5, metavar="N", help="completions, 64 at most (default: %(default)s)")
    p.add_argument(
        "--max-bytes", type=positive, default=24, metavar="N", help="longest completion in bytes (default: %(default)s)"
    )
    p.add_argument(
        "--stdin",
        action="store_true",
        help="answer requests, one JSON object a line: id, prefix or text with cursor, n, max_bytes",
    )
    p.add_argument(
        "--longest",
        type=byte_size,
        default="64Ki",
        metavar="SIZE",
        help="read at most this much text before the cursor (default: %(default)s)",
    )
    learn_option(p, "learn from the text before the cursor")
    adapter_option(p)
    threads_option(p)
    json_option(p)


def complete(args: argparse.Namespace) -> int:
    """Complete the word that is being typed, or name the next one.

    Prints the likeliest completions with their probabilities. With --stdin it stays open and keeps what it has read,
    so that a keystroke costs only the new bytes.
    """
    if args.stdin and args.prefix is not None:
        raise UserError("--stdin reads its texts from requests; leave out the PREFIX")
    if not args.stdin and args.prefix is None:
        raise UserError("give a text to complete, - to read it from standard input, or --stdin for requests")
    from cpu1.completing import Reader
    from cpu1.runtime.completion import LONGEST, MOST
    from cpu1.runtime.sampling import whole
    from cpu1.runtime.text import as_bytes

    whole("-n", args.n, 1, MOST)
    whole("--max-bytes", args.max_bytes, 1, LONGEST)
    if args.stdin:
        return _serve(Reader(opened_model(model_path(args), args), args.longest), args)
    text = sys.stdin.buffer.read() if args.prefix == STANDARD else as_bytes(args.prefix)
    found = Reader(opened_model(model_path(args), args), args.longest).complete(text, args.n, args.max_bytes)
    if args.json:
        print(json.dumps([{"text": each.text, "probability": each.probability} for each in found]))
    else:
        for each in found:
            print(f"{each.probability:.3f} {json.dumps(each.text, ensure_ascii=False)}")
    return 0


def _serve(reader: "Reader", args: argparse.Namespace) -> int:
    """An answer to each line, at once, until the input ends."""
    from cpu1.completing.protocol import answers

    for line in answers(reader, sys.stdin.buffer, args.n, args.max_bytes):
        sys.stdout.buffer.write(line)
        sys.stdout.buffer.flush()
    return 0
