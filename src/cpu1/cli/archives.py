"""Verbs that keep a text as the code of a packed model, and give it back."""

import argparse
import sys
import time
from pathlib import Path

from cpu1.cli.options import Verb, byte_size, input_bytes, positive
from cpu1.cli.words import DEFAULT_HELP
from cpu1.errors import UserError
from cpu1.files import write_atomic

SUFFIX = ".cpz"
STANDARD = Path("-")
SECONDS_A_LOOK = 0.25


def add(verb: Verb) -> None:
    p = verb(compress, "compress", "compress book.txt\n"
             "compress - --model model.cpu1 < book.txt > book.txt.cpz")  # fmt: skip
    p.add_argument("file", type=Path, help="any file; - reads standard input")
    _shared(p, f"the file to write (default: FILE{SUFFIX}); - is standard output, the default for -")
    p.add_argument("--block", type=byte_size, metavar="SIZE",
                   help="let the model start anew after so many bytes; blocks are what threads share "
                   "(default: 128Ki; 8Ki for attention without segments)")  # fmt: skip

    p = verb(decompress, "decompress", "decompress book.txt.cpz\n"
             "decompress book.txt.cpz -o - --model model.cpu1 | less")  # fmt: skip
    p.add_argument("file", type=Path, help="an archive; - reads standard input")
    _shared(p, f"the file to write (default: FILE without {SUFFIX}); - is standard output, the default for -")


def _shared(parser: argparse.ArgumentParser, out: str) -> None:
    parser.add_argument("-o", "--out", type=Path, help=out)
    parser.add_argument("--model", type=Path, help="a packed file, the same one both ways "
                        f"(default: {DEFAULT_HELP})")  # fmt: skip
    parser.add_argument("--threads", type=positive, default=1, help="blocks worked on at once (default: 1)")


def compress(words: argparse.Namespace) -> int:
    """Makes a file small by a packed model, lossless. To get it back, the same model is needed."""
    from cpu1.runtime.archive import compress as make
    from cpu1.runtime.default import default_model
    from cpu1.runtime.model import PackedModel

    out = _target(words, Path(f"{words.file}{SUFFIX}"))
    model, text = PackedModel(words.model or default_model()), input_bytes(words.file)
    with Meter() as meter:
        archive = make(text, model, words.block, words.threads, meter.look)
    _write(out, archive)
    _say(f"{words.file}: {len(text):,} bytes to {len(archive):,}", len(archive), len(text), meter)
    return 0


def decompress(words: argparse.Namespace) -> int:
    """Gives back what `compress` made small; writes nothing unless it is that to the byte."""
    from cpu1.runtime.archive import decompress as restore
    from cpu1.runtime.default import default_model

    if words.out is None and words.file != STANDARD and words.file.suffix != SUFFIX:
        raise UserError(f"{words.file}: its name does not end in {SUFFIX}; say with -o what to write")
    out, archive = _target(words, words.file.with_suffix("")), input_bytes(words.file)
    try:
        with Meter() as meter:
            text = restore(archive, words.model or default_model(), words.threads, meter.look)
    except UserError as error:
        raise UserError(f"{words.file}: {error}") from None
    _write(out, text)
    _say(f"{words.file}: {len(archive):,} bytes to {len(text):,}", len(archive), len(text), meter)
    return 0


def _target(words: argparse.Namespace, usual: Path) -> Path:
    """Where to write. A file that was not named is not replaced; nor is anything that is not a file."""
    out: Path = words.out or (STANDARD if words.file == STANDARD else usual)
    if out == STANDARD:
        if sys.stdout.isatty() and words.verb is compress:
            raise UserError("an archive is not for a terminal; name a file with -o")
    elif out.exists() and (not words.out or not out.is_file()):
        raise UserError(f"{out} exists; say with -o what to write" if out.is_file() else f"{out}: not a file")
    return out


def _write(out: Path, data: bytes) -> None:
    try:
        if out == STANDARD:
            sys.stdout.buffer.write(data)
            sys.stdout.buffer.flush()
        else:
            write_atomic(out, data)
    except BrokenPipeError:
        raise
    except OSError as error:
        raise UserError(f"{out}: not writable ({error.strerror})") from None


def _say(what: str, archive: int, text: int, meter: "Meter") -> None:
    if text:
        what += f", {8 * archive / text:.4f} bits per byte, {text / meter.seconds / 1e3:,.1f} KB/s"
    print(what, file=sys.stderr)


class Meter:
    """How far a long work has come, in one line of a terminal's standard error."""

    def __init__(self) -> None:
        self._begun = self._shown = time.monotonic()
        self.seconds = 0.0

    def __enter__(self) -> "Meter":
        return self

    def __exit__(self, *_: object) -> None:
        self.seconds = max(time.monotonic() - self._begun, 1e-9)
        self._show("")

    def look(self, done: int, size: int) -> None:
        """`done` bytes of `size` are."""
        now = time.monotonic()
        if now - self._shown > SECONDS_A_LOOK:
            self._shown, rate = now, max(done, 1) / (now - self._begun)
            left = round((size - done) / rate)
            self._show(f"{done / size:4.0%}  {rate / 1e3:,.1f} KB/s  {left // 60}:{left % 60:02} left")

    def _show(self, line: str) -> None:
        if sys.stderr.isatty():
            print(f"\r\033[K{line}", end="", file=sys.stderr, flush=True)
