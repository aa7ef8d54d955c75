"""The command that records a teacher's answers."""

import argparse
import sys

from cpu1.cli.options import Command, byte_size, data_option, out_option, positive, quiet_option, threads_option


def add(command: Command) -> None:
    """Adds the command `teach`."""
    p = command(
        teach,
        "teach",
        "teach --teacher runs/02-nano-r1-s0 --data books.txt.zst -o cache/books",
        "teach --teacher SmolLM2-135M-Instruct.Q4_1.gguf --data books.txt.zst -o cache/books",
        "teach --teacher Qwen/Qwen3-0.6B-Base --data books.txt.zst -o cache/books --top-k 16",
    )
    p.add_argument(
        "--teacher",
        required=True,
        metavar="TEACHER",
        help="folder of a byte-level run, a .gguf file, or a transformers model by folder or name",
    )
    out_option(p, "cache folder; resumed if it exists", "FOLDER", required=True)
    data_option(p, "text for the teacher to read")
    p.add_argument(
        "--top-k",
        type=positive,
        default=8,
        metavar="K",
        help="number of likeliest bytes to keep per prediction (default: %(default)s)",
    )
    p.add_argument(
        "--window",
        type=byte_size,
        default="4Ki",
        metavar="SIZE",
        help="bytes of text that the teacher reads at once (default: %(default)s)",
    )
    p.add_argument(
        "--share",
        type=float,
        default=0.1,
        metavar="P",
        help="follow other ways to split the text into tokens if they have at least this share of the "
        "probability; 1 follows none and is fastest (default: %(default)s)",
    )
    threads_option(p, default="all cores")
    quiet_option(p)


def teach(args: argparse.Namespace) -> int:
    """Record which bytes a larger model expects in a text.

    `cpu1 train --teacher-cache` learns from the record without running the teacher again.
    """
    import torch
    from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn, TransferSpeedColumn

    from cpu1.data.corpus import prepare
    from cpu1.teachers.open import open_teacher
    from cpu1.teachers.teach import teach as ask

    if args.threads:
        torch.set_num_threads(args.threads)
    teacher = open_teacher(args.teacher, args.share)
    corpus = prepare(args.data, field=args.field)
    columns = (TextColumn("teaching"), BarColumn(), DownloadColumn(), TransferSpeedColumn(), TimeRemainingColumn())
    try:
        with Progress(*columns, disable=args.quiet) as bar:
            task = bar.add_task("", total=None)
            taught = ask(
                teacher,
                corpus,
                args.out,
                top_k=args.top_k,
                window=args.window,
                progress=lambda done, units: bar.update(task, completed=done, total=units),
            )
    except KeyboardInterrupt:
        print(
            f"cpu1: interrupted; what was recorded is in {args.out}; run the same command again to continue",
            file=sys.stderr,
        )
        return 130
    if not args.quiet:
        if taught.bpb is not None:
            speed = taught.bytes / taught.seconds / 1e3
            print(f"{taught.bytes:,} bytes in {taught.seconds:.0f} s, {speed:.1f} KB/s: {taught.bpb:.4f} bits per byte")
        print(f"{args.out}: {taught.size:,} bytes, {taught.size / taught.units:.1f} per byte of text")
    return 0
