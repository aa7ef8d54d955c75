"""How long a key takes while someone types, and how many keys completions save.

    python bench/keystrokes.py [--text SOURCE...] [--keys 150] [--passages 8] [--json] [--out results/bench/typing.json]

Passages of each SOURCE (by default the pages of docs/) are typed letter by letter, and each key asks for five
completions. Two contexts: none, and 2,048 characters of the passage already read. Three ways, at the same keys: `kept`,
a Reader in the process; `pipe`, `cpu1 complete --stdin`, with the JSON both ways; `new`, a new session that reads all
of the text, at every tenth key. Its completions must be those of the other two, else the benchmark stops. Milliseconds
by the clock and of the processor (`pipe`: what this process waits for, by the clock only). The histogram counts keys by
the first of its bounds that the clock's time is below; the last count is of those beyond all.

`saved` is the share of keys that need not be pressed by who takes a completion as soon as it is right, and presses one
key for it: the first alone, or any of five. `bench/typing.py` would hide Python's own module of that name.
"""

import argparse
import json
import os
import re
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from cpu1.cli.options import positive
from cpu1.completing import Reader
from cpu1.data.sources import documents
from cpu1.errors import UserError
from cpu1.files import write_atomic
from cpu1.runtime.default import default_model
from cpu1.runtime.model import Model
from cpu1.runtime.processor import processor

ROOT = Path(__file__).resolve().parents[1]
TEXT = str(ROOT / "docs" / "*.md")
CONTEXTS = (0, 2048)  # characters
COUNT, LONGEST_WORD = 5, 24
EVERY = 10  # keys between two new sessions
BOUNDS = (1, 2, 4, 8, 16, 32, 64, 128, 256)  # milliseconds, of the histogram
END = re.compile(r"(?![\w'’])")  # after a word

Times = list[tuple[float, float]]  # of each key: milliseconds by the clock, and of the processor
Words = list[str]
Ask = Callable[[str], Words]


class Pipe:
    """`cpu1 complete --stdin` in a process of its own."""

    def __init__(self, model: Path) -> None:
        words = [sys.executable, "-m", "cpu1", "complete", "--stdin", "-m", str(model)]
        self.process = subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE)

    def complete(self, text: str) -> Words:
        assert self.process.stdin
        assert self.process.stdout
        request = {"prefix": text, "n": COUNT, "max_bytes": LONGEST_WORD}
        self.process.stdin.write(json.dumps(request).encode() + b"\n")
        self.process.stdin.flush()
        return [each["text"] for each in json.loads(self.process.stdout.readline())["completions"]]

    def close(self) -> None:
        self.process.communicate()


def passages(source: str, count: int, size: int) -> list[str]:
    """Passages of at least `size` characters from places that are spread evenly, each from the beginning of a line."""
    text = b"\n".join(documents(source)).decode(errors="replace")
    starts = [text.find("\n", place * len(text) // count) + 1 for place in range(count)]
    found = [text[start : start + size] for start in starts]
    if any(len(each) < size for each in found):
        raise UserError(f"{source}: gives no {count} passages of {size:,} characters; use fewer (--passages)")
    return found


def timed(ask: Ask, text: str, times: Times) -> Words:
    begun, worked = time.perf_counter(), time.process_time()
    found = ask(text)
    times.append((1e3 * (time.perf_counter() - begun), 1e3 * (time.process_time() - worked)))
    return found


def typed(model: Model, pipe: Pipe, text: str, context: int, count: int, times: dict[str, Times]) -> list[Words]:
    """What is offered at each key of a passage; adds its times. UserError where two ways differ."""
    reader = Reader(model)

    def kept(before: str) -> Words:
        return [word.text for word in reader.complete(before, COUNT, LONGEST_WORD)]

    def new(before: str) -> Words:
        return [word.text for word in model.complete(before, COUNT, LONGEST_WORD)]

    for ask in (kept, pipe.complete):  # the context is read before the first key
        ask(text[:context])
    offers = []
    for place, before in enumerate(keys(text, context, count)):
        found = timed(kept, before, times["kept"])
        others = [timed(pipe.complete, before, times["pipe"])]
        others += [timed(new, before, times["new"])] if place % EVERY == 0 else []
        if any(other != found for other in others):
            raise UserError(f"the ways differ after {before[-40:]!r}: {found}, {others}")
        offers.append(found)
    return offers


def keys(text: str, context: int, count: int) -> Iterator[str]:
    """What is before the cursor after each key."""
    return (text[:end] for end in range(context + 1, context + 1 + count))


def summary(times: Times) -> dict[str, Any]:
    clock, cpu = (np.array([each[kind] for each in times]) for kind in (0, 1))
    found: dict[str, Any] = {"keys": len(times)}
    for name, values in ("", clock), ("cpu_", cpu):
        found |= {f"{name}p{share}_ms": round(float(np.percentile(values, share)), 3) for share in (50, 99)}
    counts = np.bincount(np.searchsorted(BOUNDS, clock, side="right"), minlength=len(BOUNDS) + 1)
    return found | {"histogram": counts.tolist()}


def saved(text: str, context: int, offers: Sequence[Words], most: int) -> int:
    """Keys that need not be pressed where one of the first `most` completions is taken as soon as it is right."""
    at, spared = 0, 0
    while at < len(offers) - 1:
        begin = context + at + 1
        right = [
            word for word in offers[at][:most] if text.startswith(word, begin) and END.match(text, begin + len(word))
        ]
        gain = max((len(word) for word in right), default=0)
        spared += max(0, gain - 1)
        at += max(1, gain)
    return spared


def measure(model: Model, texts: Sequence[str], count: int) -> dict[str, Any]:
    """All figures."""
    rows, spared = {}, dict.fromkeys((1, COUNT), 0)
    for context in CONTEXTS:
        times: dict[str, Times] = {"kept": [], "pipe": [], "new": []}
        pipe = Pipe(model.path)
        for number, text in enumerate(texts):
            offers = typed(model, pipe, text, context, count, times)
            for most in spared:
                spared[most] += saved(text, context, offers, most)
            print(f"context {context}: passage {number + 1} of {len(texts)}", file=sys.stderr, flush=True)
        pipe.close()
        rows[str(context)] = {way: summary(each) for way, each in times.items()}
    total = len(CONTEXTS) * len(texts) * count
    return {
        "processor": processor(),
        "cores": os.cpu_count(),
        "load": [round(load, 1) for load in os.getloadavg()],
        "arithmetic": model.arithmetic,
        "completions": COUNT,
        "bounds_ms": BOUNDS,
        "contexts": rows,
        "saved": {str(most): round(each / total, 4) for most, each in spared.items()},
    }


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--text", nargs="+", default=[TEXT], metavar="SOURCE", help="what is typed (default: docs/*.md)"
    )
    parser.add_argument("--model", type=Path, help="packed model (default: the bundled one)")
    parser.add_argument("--keys", type=positive, default=150, help="of a passage (default: %(default)s)")
    parser.add_argument("--passages", type=positive, default=4, help="of a source (default: %(default)s)")
    parser.add_argument("--json", action="store_true", help="print JSON")
    parser.add_argument("--out", type=Path, help="file to write the JSON to")
    args = parser.parse_args()
    try:
        size = CONTEXTS[-1] + args.keys + 1 + LONGEST_WORD
        texts = [text for source in args.text for text in passages(source, args.passages, size)]
        names = [Path(source).name for source in args.text]
        found = {"texts": names, "passages": len(texts)} | measure(
            Model(args.model or default_model()), texts, args.keys
        )
    except UserError as error:
        print(f"bench/keystrokes.py: {error}", file=sys.stderr)
        return 2
    data = json.dumps(found, indent=1)
    if args.out:
        write_atomic(args.out, (data + "\n").encode())
    print(data if args.json else show(found))
    return 0


def show(found: dict[str, Any]) -> str:
    lines = []
    for context, ways in found["contexts"].items():
        for way, row in ways.items():
            times = ", ".join(f"{name} {row[name]:.2f}" for name in row if name.endswith("ms"))
            lines.append(f"{context:>5} bytes read, {way:5}{times}")
    return "\n".join([*lines, f"keys saved: {found['saved']}"])


if __name__ == "__main__":
    sys.exit(main())
