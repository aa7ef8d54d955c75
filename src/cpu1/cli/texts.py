"""Commands for texts: data, mix."""

import argparse
from pathlib import Path

from cpu1.cli.options import SOURCES, Command, byte_size, field_option, quiet_option, seed_option, share


def add(command: Command) -> None:
    """Adds the commands `data` and `mix`."""
    p = command(data, "data", "data python-stdlib", "data 'books/*.txt.zst'", "data posts.jsonl.gz --field body")
    p.add_argument("source", metavar="SOURCE", help=f"text to prepare: {SOURCES}")
    field_option(p)

    p = command(
        mix,
        "mix",
        "mix mix.txt.zst --part books/=60 --part reference.txt=25 --part 'tech/*.zst=15' --bytes 24M",
        "mix small.txt --part hf:NAME=1 --bytes 500k --seed 1",
        "mix both.txt --part notes.txt=3 --part spaced:notes.txt=1 --bytes 2M",
    )
    p.add_argument("out", type=Path, metavar="FILE", help="file to write; compressed if its name ends in .zst")
    p.add_argument(
        "--part",
        type=share,
        action="append",
        required=True,
        metavar="SOURCE=SHARE",
        dest="parts",
        help="a text and its share, in any unit; repeatable. spaced:SOURCE puts spaces around the "
        "punctuation of English text, as WikiText does (needs cpu1[spacing]); wrapped:SOURCE wraps long "
        "lines, as mail does",
    )
    p.add_argument("--bytes", type=byte_size, required=True, metavar="SIZE", help="size of the mixture, like 24M")
    p.add_argument(
        "--piece",
        type=byte_size,
        default=64 << 10,
        metavar="SIZE",
        help="cut documents longer than this; others stay whole (default: 64Ki)",
    )
    field_option(p)
    seed_option(p, "seed of the choice of pieces")
    quiet_option(p)


def data(args: argparse.Namespace) -> int:
    """Prepare a text for training and describe it.

    The prepared text is cached, so that training starts at once.
    """
    from cpu1.data.corpus import describe, prepare

    print(describe(prepare(args.source, field=args.field)))
    return 0


def mix(args: argparse.Namespace) -> int:
    """Mix several texts into one, in given shares."""
    from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

    from cpu1.data.mix import Part
    from cpu1.data.mix import mix as write

    columns = (SpinnerColumn(), TextColumn("{task.completed:,.0f} MB read"), TimeElapsedColumn())
    with Progress(*columns, disable=args.quiet, transient=True) as bar:
        task = bar.add_task("", total=None)
        parts = [Part(source, share) for source, share in args.parts]
        read = lambda size: bar.advance(task, size / 1e6)  # noqa: E731 (what it is called with depends on the bar)
        mixture = write(parts, args.bytes, args.out, args.field, args.seed, read, args.piece)
    for part in mixture.parts:
        print(f"{part.source}: {part.bytes:,} bytes in {part.pieces:,} pieces")
    print(f"{args.out}: {mixture.bytes:,} bytes of text, sha256 {mixture.sha256}")
    return 0
