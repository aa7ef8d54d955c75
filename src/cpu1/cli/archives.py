"""Commands that keep a text as the code of a packed model, and restore it."""

import argparse
import sys
from pathlib import Path

from cpu1.cli.meter import Meter
from cpu1.cli.options import (
    STANDARD,
    Command,
    byte_size,
    input_bytes,
    keep_inputs,
    model_option,
    model_path,
    out_option,
    threads_option,
)
from cpu1.errors import UserError

SUFFIX = ".cpz"


def add(command: Command) -> None:
    """Adds the commands `compress` and `decompress`."""
    p = command(compress, "compress", "compress book.txt", "compress - -m model.cpu1 < book.txt > book.txt.cpz")
    p.add_argument("file", type=Path, metavar="FILE", help="any file, or - to read standard input")
    _shared(p, f"archive to write, or - for standard output (default: FILE{SUFFIX})")
    p.add_argument(
        "--block",
        type=byte_size,
        metavar="SIZE",
        help="bytes per block; threads work on different blocks, and the model starts fresh in each "
        "(default: the whole file; 8Ki for models with full attention)",
    )
    p.add_argument(
        "--frozen", action="store_true", help="do not let the model learn from the file: faster, and larger archives"
    )

    p = command(
        decompress, "decompress", "decompress book.txt.cpz", "decompress book.txt.cpz -o - -m model.cpu1 | less"
    )
    p.add_argument("file", type=Path, metavar="FILE", help="archive to restore, or - to read standard input")
    _shared(p, f"file to write, or - for standard output (default: FILE without {SUFFIX})")


def _shared(parser: argparse.ArgumentParser, out: str) -> None:
    out_option(parser, out)
    model_option(parser, "packed model, the same for compress and decompress")
    threads_option(parser, "number of blocks to work on at once")


def compress(args: argparse.Namespace) -> int:
    """Compress a file with a model, without loss.

    The same model is needed to restore it.
    """
    from cpu1.runtime.archive import compress as make
    from cpu1.runtime.model import Model

    out = _target(args, Path(f"{args.file}{SUFFIX}"))
    model, text = Model(model_path(args)), input_bytes(args.file)
    with Meter() as meter:
        archive = make(text, model, args.block, args.threads, meter.look, False if args.frozen else None)
    write_out(out, archive)
    _report(f"{args.file}: {len(text):,} bytes to {len(archive):,}", len(archive), len(text), meter)
    return 0


def decompress(args: argparse.Namespace) -> int:
    """Restore a file that `cpu1 compress` made.

    The result is checked, and nothing is written unless every byte is right.
    """
    from cpu1.runtime.archive import decompress as restore

    if args.out is None and str(args.file) != STANDARD and args.file.suffix != SUFFIX:
        raise UserError(f"{args.file}: its name does not end in {SUFFIX}; name the output with -o")
    archive = input_bytes(args.file)
    out = _target(args, args.file.with_suffix(""))
    try:
        with Meter() as meter:
            text = restore(archive, model_path(args), args.threads, meter.look)
    except UserError as error:
        raise UserError(f"{args.file}: {error}") from None
    write_out(out, text)
    _report(f"{args.file}: {len(archive):,} bytes to {len(text):,}", len(archive), len(text), meter)
    return 0


def _target(args: argparse.Namespace, usual: Path) -> Path:
    """Where to write. A file that was not named is not replaced; nor is anything that is not a file."""
    out: Path = args.out or (args.file if str(args.file) == STANDARD else usual)
    keep_inputs(out, args.file, model_path(args))
    if str(out) == STANDARD:
        if sys.stdout.isatty() and args.command is compress:
            raise UserError("an archive would garble the terminal; name a file with -o")
    elif out.exists() and (not args.out or not out.is_file()):
        raise UserError(f"{out} exists; name the output with -o" if out.is_file() else f"{out}: not a file")
    return out


def write_out(out: Path, data: bytes) -> None:
    """Writes a file, atomically, or to standard output for -. UserError where that is not possible."""
    from cpu1.files import write_atomic

    try:
        if str(out) == STANDARD:
            sys.stdout.buffer.write(data)
            sys.stdout.buffer.flush()
        else:
            write_atomic(out, data)
    except BrokenPipeError:
        raise
    except OSError as error:
        raise UserError(f"{out}: not writable ({error.strerror})") from None


def _report(line: str, archive: int, text: int, meter: Meter) -> None:
    if text:
        line += f", {8 * archive / text:.4f} bits per byte, {text / meter.seconds / 1e3:,.1f} KB/s"
    print(line, file=sys.stderr)
