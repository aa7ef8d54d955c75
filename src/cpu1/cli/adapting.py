"""The command that makes a model of one's own."""

import argparse
import math
import os
import shlex
import sys
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

from cpu1.cli.meter import Meter, spelled_time
from cpu1.cli.options import (
    PACKED,
    Command,
    field_option,
    keep_inputs,
    model_option,
    model_path,
    out_option,
    quiet_option,
    seed_option,
    threads_option,
)
from cpu1.errors import UserError

if TYPE_CHECKING:
    from cpu1.adapting.folder import Folder
    from cpu1.adapting.text import Parts
    from cpu1.adapting.training import State
    from cpu1.runtime.model import Model

ADAPTER = ".cpa"
LAB = ("torch", "filelock")  # without which nothing is trained
INTERRUPTED = 130
FAR = 3.0  # bits per byte, at which a model knows little of a text


def add(command: Command) -> None:
    """Adds the command `adapt`."""
    p = command(
        adapt,
        "adapt",
        "adapt notes.txt -o mine.cpa",
        "adapt letters/ 'mail/*.txt' -o mine.cpu1 --minutes 5",
        "adapt chat.jsonl --field body -o chat.cpu1 --minutes 10 --scratch",
    )
    p.add_argument(
        "texts",
        nargs="+",
        metavar="TEXT",
        help="files, folders or quoted globs with text (plain, .gz, .xz, .bz2, .zst, .jsonl), or - for standard input",
    )
    out_option(
        p,
        f"what to write: an adapter for the model that read, like mine{ADAPTER}; with --minutes a model, "
        f"like mine{PACKED}",
        required=True,
    )
    p.add_argument(
        "--minutes",
        type=float,
        metavar="MINUTES",
        help="train for this long, which needs torch (default: the model only reads, which needs none)",
    )
    p.add_argument(
        "--scratch",
        action="store_true",
        help="with --minutes: train a small model from nothing, for text that is far from English prose",
    )
    model_option(p, f"packed model to begin with, a {PACKED} file")
    field_option(p)
    seed_option(p, "seed of the order in which text is trained on, and of the samples")
    threads_option(p, "threads", "all cores")
    quiet_option(p)


def adapt(args: argparse.Namespace) -> int:
    """Adapt a model to your own text, by reading it or by training.

    A tenth of the text is held out. The command prints how many bits per byte the model needs for that tenth, before
    and after, and what it writes. Without --minutes the model reads the text once and keeps what it learned: about a
    minute a megabyte. With --minutes it trains, and writes a model. Ctrl-C keeps the best so far, and the same command
    continues the training.
    """
    from cpu1.adapting.text import LEAST, LEAST_TRAINED, divide, keep_text, read_text

    model, trains = model_path(args), args.minutes is not None
    written = _trained_names(args) if trains else [_adapter(args.out)]
    _check(args, trains)
    _check_place(written[0])
    keep_text(args.out, written, args.texts)
    keep_inputs(written[0], model)
    texts = read_text(args.texts, args.field, LEAST_TRAINED if trains else LEAST)
    parts = divide(texts)
    print(_describe(texts, parts), file=sys.stderr)
    return _train(args, model, parts) if trains else _read(args, model, parts)


def _check(args: argparse.Namespace, trains: bool) -> None:
    """What can be refused before anything is read."""
    if not trains:
        if args.scratch:
            raise UserError("--scratch needs --minutes: a model from nothing must be trained")
        return
    if not (math.isfinite(args.minutes) and args.minutes > 0):
        raise UserError(f"--minutes {args.minutes}: must be a positive number")
    if args.out.suffix == ADAPTER:
        raise UserError(f"{args.out}: with --minutes a model is written, not an adapter; name it -o NAME{PACKED}")
    if not all(map(_is_there, LAB)):
        raise UserError(
            "--minutes needs torch: pip install 'cpu1[lab]'. Without --minutes the model reads the text, "
            "which needs no torch"
        )


def _check_place(out: Path) -> None:
    """What would otherwise be refused after the work."""
    if out.is_dir():
        raise UserError(f"{out}: is a folder; name a file")
    folder = next(each for each in out.absolute().parents if each.exists())
    if not os.access(folder, os.W_OK):
        raise UserError(f"{out}: {folder} is not writable; name another output with -o")


def _is_there(package: str) -> bool:
    try:
        return find_spec(package) is not None
    except ModuleNotFoundError:
        return False


def _adapter(out: Path) -> Path:
    """The adapter's name: what was asked for, but for that of a model."""
    return out.with_suffix(ADAPTER) if out.suffix == PACKED else out


def _trained_names(args: argparse.Namespace) -> list[Path]:
    from cpu1.adapting.names import state_folder

    return [args.out, state_folder(args.out)]


def _describe(texts: Sequence[bytes], parts: "Parts") -> str:
    many = len(texts) > 1
    how = f"{len(parts.held_out)} whole documents" if parts.whole else f"the end{' of each' if many else ''}"
    return (
        f"text: {sum(map(len, texts)):,} bytes in {len(texts):,} document{'s' if many else ''}; held out: {how}, "
        f"{parts.held_out_bytes:,} bytes"
    )


# ----------------------------------------------------------------------------------------- reading


def _read(args: argparse.Namespace, path: Path, parts: "Parts") -> int:
    from cpu1.adapting.measure import FIGURE_BYTES, bits_per_byte, cores, some_of
    from cpu1.adapting.reading import read
    from cpu1.runtime import adapter
    from cpu1.runtime.model import Model

    out, jobs = _adapter(args.out), args.threads or cores()
    model, reader = Model(path), Model(path, learn=True)
    held_out = some_of(parts.held_out, FIGURE_BYTES)
    measured = sum(map(len, held_out))
    with Line(args.quiet, 2 * measured + parts.known_bytes + parts.held_out_bytes) as line:
        before = bits_per_byte(model, held_out, jobs, line.read)
        try:
            read(reader, parts.known, line.read)
            after = bits_per_byte(reader, held_out, jobs, line.read)
            shown = _samples(args.seed, parts, model, reader)
            read(reader, parts.held_out, line.read)
        except KeyboardInterrupt:
            size = adapter.write(reader, out)
            line.clear()
            print(f"cpu1: interrupted; {out} ({size:,} bytes) has what was read until then", file=sys.stderr)
            return INTERRUPTED
    size = adapter.write(reader, out)
    _show([("before", before), ("after reading", after)], shown)
    print(f"{out}: {size:,} bytes, for {path.name}")
    print(f'try it: cpu1 generate "{_opening(parts)}" {_model(args)}--adapter {out}')
    return 0


# ---------------------------------------------------------------------------------------- training


def _train(args: argparse.Namespace, path: Path, parts: "Parts") -> int:
    from cpu1.adapting.folder import Folder
    from cpu1.adapting.training import Ended, Wish, nothing, open_model, task_of, train

    wish = Wish(args.minutes, args.seed, args.threads)
    start, folder = nothing() if args.scratch else open_model(path), Folder(args.out)
    folder.check(task_of(wish, start, parts))
    with Line(args.quiet) as line:
        try:
            looks = train(wish, start, parts, folder, line.train)
        except Ended:
            line.clear()
            print(_interrupted(args.out, folder), file=sys.stderr)
            return INTERRUPTED
        except KeyboardInterrupt:
            line.clear()
            print("cpu1: interrupted before training began; the same command starts it", file=sys.stderr)
            return INTERRUPTED
    if looks.best.step == 0:
        print(f"cpu1: training made the model no better for this text; {args.out} is not written", file=sys.stderr)
        folder.remove()
        return 1
    size = folder.hand_over()
    before = _compare(args, path, parts)
    folder.remove()
    if before > FAR and not args.scratch:
        print("this text is far from what the model knows: --scratch may give a better model, and a smaller one")
    print(f"{args.out}: {size:,} bytes")
    print(f'try it: cpu1 generate "{_opening(parts)}" -m {args.out}')
    again = shlex.join(["cpu1", "adapt", *args.texts, "-m", str(args.out), "-o", str(_adapter(args.out))])
    print(f"it may read the text as well, which often brings more: {again}")
    return 0


def _interrupted(out: Path, folder: "Folder") -> str:
    """What there is when a signal ended training; the best so far is written."""
    best = folder.looks().best
    then = f"the same command continues (or remove {folder.path})"
    if best.step == 0:
        return f"cpu1: interrupted; nothing better than before yet, so {out} is not written; {then}"
    folder.hand_over()
    return f"cpu1: interrupted; {out} is the best so far, {best.bits_per_byte:.4f} bits per byte; {then}"


def _compare(args: argparse.Namespace, path: Path, parts: "Parts") -> float:
    """Prints figures of the model as it was, and of the one that training wrote; returns the first of them."""
    from cpu1.adapting.measure import FIGURE_BYTES, bits_per_byte, cores, some_of
    from cpu1.runtime.model import Model

    held_out, jobs = some_of(parts.held_out, FIGURE_BYTES), args.threads or cores()
    old, new, learning = Model(path), Model(args.out), Model(args.out, learn=True)
    names = (("before", old), ("after training", new), ("after, with --learn", learning))
    with Line(args.quiet, len(names) * sum(map(len, held_out))) as line:
        figures = [(name, bits_per_byte(model, held_out, jobs, line.read)) for name, model in names]
    _show(figures, _samples(args.seed, parts, old, new))
    return figures[0][1]


# ------------------------------------------------------------------------------------------ output


def _samples(seed: int, parts: "Parts", *models: "Model") -> list[str]:
    from cpu1.adapting.measure import prompt_of, sample

    return [sample(model, prompt_of(parts.held_out[0]), seed) for model in models]


def _show(figures: Sequence[tuple[str, float]], samples: Sequence[str]) -> None:
    first = figures[0][1]
    for name, bits in figures:
        change = "" if bits == first else f"  {abs(1 - bits / first):.1%} {'fewer' if bits < first else 'more'}"
        print(f"{name:20}{bits:8.4f} bits per byte of the held-out text{change}")
    for name, text in zip(("before", "after"), samples, strict=True):
        print(f"writes, {name}: {text}")


def _opening(parts: "Parts") -> str:
    """A few words of the text that need no quoting, for an example."""
    words = parts.known[0][:400].decode("utf-8", "ignore").split()
    plain = [word for word in words if word.isalnum()]
    return " ".join(plain[:3]) or "The"


def _model(args: argparse.Namespace) -> str:
    return f"-m {args.model} " if args.model else ""


class Line(Meter):
    """A meter, and looks of a training in lines that stay."""

    def __init__(self, quiet: bool, size: int = 0) -> None:
        """`size`: bytes to read in all."""
        super().__init__(quiet, size)
        self._prints, self._looked = not quiet, -1

    def train(self, state: "State") -> None:
        """Called after each step."""
        done = state.place / state.steps
        if self._prints and state.looks.looks[-1].step > self._looked:
            last = state.looks.looks[-1]
            self._looked = last.step
            self.clear()
            about = "before" if last.step == 0 else f"{done:.0%} done, step {last.step:,}"
            print(f"{about}: {last.bits_per_byte:.4f} bits per byte of the held-out text", file=sys.stderr)
        left = f", {spelled_time(state.seconds / done - state.seconds)} left" if done else ""
        self.put(f"training: {done:.0%} done, step {state.step:,}{left}")
