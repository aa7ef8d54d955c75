"""What `cpu1 adapt` brings for three kinds of text: `python bench/adapt.py author|radio|code [--text FILE]`.

    git clone https://github.com/mlschmitt/classic-books-markdown
    python bench/adapt.py author --text "classic-books-markdown/R.D. Blackmore/Lorna Doone.md"
    git clone https://github.com/dimapanov/mesh-compressor
    python bench/adapt.py radio --text mesh-compressor/data/datasets/train.jsonl
    python bench/adapt.py code

The sets: one novel; messages of a public radio mesh, a line each (JSON lines with a field `text`); the sources of this
Python's standard library. Of each the first megabyte is taken, with documents in the order of their SHA-256 where there
are many. A tenth of it is held out here, and nothing that is measured has seen it, not even to choose the best look:
for that, `cpu1 adapt` holds out a tenth of the rest.

Measured on the held-out tenth, in bits per byte, each piece read as a document:

    shipped            the bundled model
    learning           the same, learning while it reads the held-out text
    reading            the same with an adapter of the rest of the text
    trained            the bundled model trained on for the minutes
    trained, learning  the same, learning while it reads the held-out text
    trained, reading   the same with an adapter of the rest of the text
    scratch            run 18 at the scale nano, trained from nothing for the minutes

Seconds are of the clock and of the processor (all threads), so that a busy machine shows. Writes the set's part of
results/bench/adapt.json.
"""

import argparse
import hashlib
import json
import os
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch

from cpu1.adapting.folder import Folder
from cpu1.adapting.measure import bits_per_byte, cores, some_of
from cpu1.adapting.reading import read
from cpu1.adapting.text import Parts, divide
from cpu1.adapting.training import Ended, State, Wish, nothing, open_model, train
from cpu1.data.sources import documents
from cpu1.errors import UserError
from cpu1.files import read_json, write_json
from cpu1.runs.trained import environment
from cpu1.runtime import adapter
from cpu1.runtime.default import default_model
from cpu1.runtime.model import Model
from cpu1.training.start import Start

RESULT = Path(__file__).resolve().parent.parent / "results" / "bench" / "adapt.json"
SIZE = 1_000_000  # bytes of a text
SCORED = 64 << 10  # bytes of the held-out tenth that are read, at most
SETS = ("author", "radio", "code")


def text_of(name: str, source: str, size: int) -> list[bytes]:
    """The documents of a set, `size` bytes in all at most."""
    found = list(documents(source))
    if name == "radio":
        found = [b"".join(b" ".join(text.split()) + b"\n" for text in found)]
    if len(found) > 1:
        found.sort(key=lambda text: hashlib.sha256(text).digest())
    taken: list[bytes] = []
    for text in found:
        if size > 0:
            taken.append(text[:size])
            size -= len(taken[-1])
    return taken


class Measured:
    """Rows of figures for one text."""

    def __init__(self, parts: Parts, minutes: float, threads: int, place: Path) -> None:
        self.parts, self.minutes, self.threads, self.place = parts, minutes, threads, place
        self.test = some_of(parts.held_out, SCORED)
        self.rows: list[dict[str, Any]] = []

    def score(self, name: str, model: Model, spent: dict[str, Any], size: int) -> None:
        """Adds a row; `size`: bytes of the files that the figure needs."""
        bits = bits_per_byte(model, self.test, self.threads)
        self.rows.append({"way": name, "bpb": round(bits, 4), **spent, "file_bytes": size})
        print(json.dumps(self.rows[-1]), flush=True)

    def reading(self, name: str, path: Path, spent: dict[str, Any]) -> None:
        """The model of a file: as it is, learning from the held-out text alone, and after reading the rest."""
        size = path.stat().st_size
        self.score(name, Model(path), spent, size)
        self.score(f"{name}, learning", Model(path, learn=True), spent, size)
        model = Model(path, learn=True)
        with timed() as more:
            read(model, self.parts.known)
        written = adapter.write(model, self.place / "adapter.cpa")
        total = {key: round(spent[key] + more[key], 1) for key in more}
        self.score("reading" if name == "shipped" else f"{name}, reading", model, total, size + written)

    def training(self, name: str, start: Start) -> tuple[Path, dict[str, Any]]:
        """Trains from a start as `cpu1 adapt` does, on the rest of the text; the file and what it took."""
        own = divide(self.parts.known)
        folder = Folder(self.place / f"{name}.cpu1")
        wish = Wish(self.minutes, threads=self.threads)
        states: list[State] = []
        with timed() as spent:
            train(wish, start, own, folder, states.append)
        folder.hand_over()
        plan, done = folder.plan(), states[-1].step
        assert plan is not None
        settings = plan.settings
        passes = done * settings.batch * settings.window / own.known_bytes
        more = {"steps": done, "of_steps": settings.steps, "rate": settings.rate, "passes": round(passes, 2)}
        looks = [[look.step, round(look.bits_per_byte, 4)] for look in states[-1].looks.looks]
        self.rows.append({"training": name, **spent, **more, "looks": looks})
        print(json.dumps(self.rows[-1]), flush=True)
        folder.remove()
        return folder.out, spent


@contextmanager
def timed() -> Iterator[dict[str, float]]:
    """Seconds of the clock and of the processor, filled in at the end of the block."""
    spent = {"seconds": 0.0, "cpu_seconds": 0.0}
    clock, processor = time.monotonic(), time.process_time()
    yield spent
    spent["seconds"] = round(time.monotonic() - clock, 1)
    spent["cpu_seconds"] = round(time.process_time() - processor, 1)


def measure(texts: list[bytes], minutes: float, threads: int, keep: Callable[[list[dict[str, Any]]], None]) -> None:
    """All rows of a text; `keep` gets those that there are after each part."""
    with tempfile.TemporaryDirectory() as folder:
        found = Measured(divide(texts), minutes, threads, Path(folder))
        found.reading("shipped", default_model(), {"seconds": 0.0, "cpu_seconds": 0.0})
        keep(found.rows)
        path, spent = found.training("trained", open_model(default_model()))
        found.reading("trained", path, spent)
        keep(found.rows)
        path, spent = found.training("scratch", nothing())
        found.score("scratch", Model(path), spent, path.stat().st_size)
        keep(found.rows)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("set", choices=SETS)
    parser.add_argument("--text", help="the text of the set (default: python-stdlib, for code)")
    parser.add_argument("--bytes", type=int, default=SIZE, help="of the text (default: 1,000,000)")
    parser.add_argument("--minutes", type=float, default=5.0, help="of each training (default: 5)")
    parser.add_argument("--threads", type=int, help="default: all cores")
    parser.add_argument("--out", type=Path, default=RESULT, help="default: results/bench/adapt.json")
    args = parser.parse_args()
    if args.text is None and args.set != "code":
        parser.error(f"{args.set} needs --text, see above")
    try:
        texts = text_of(args.set, args.text or "python-stdlib", args.bytes)
        parts = divide(texts)
        about = {
            "bytes": sum(map(len, texts)),
            "documents": len(texts),
            "sha256": parts.identity,
            "held_out_bytes": parts.held_out_bytes,
            "whole_documents": parts.whole,
            "minutes": args.minutes,
            "threads": args.threads or cores(),
            "load_before": [round(load, 1) for load in os.getloadavg()],
            "processor": environment(torch.device("cpu"), 1).processor,
            "python": sys.version.split()[0],
        }
        print(json.dumps(about), flush=True)

        def keep(rows: list[dict[str, Any]]) -> None:
            now = {**about, "load_after": [round(load, 1) for load in os.getloadavg()], "rows": rows}
            known = read_json(args.out) if args.out.exists() else {}
            write_json(args.out, {**known, args.set: now})

        measure(texts, args.minutes, args.threads or cores(), keep)
    except UserError as error:
        print(f"bench/adapt.py: {error}", file=sys.stderr)
        return 2
    except (Ended, KeyboardInterrupt):
        print(f"bench/adapt.py: interrupted; {args.out} has what was measured until then", file=sys.stderr)
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
