"""The verb that asks a teacher."""

import argparse
import sys
from pathlib import Path

from cpu1.cli.options import Verb, byte_size, data_options, positive


def add(verb: Verb) -> None:
    p = verb(teach, "teach", "teach --teacher runs/02-nano-r1-s0 --data books.txt.zst -o cache/books\n"
             "teach --teacher SmolLM2-135M-Instruct.Q4_1.gguf --data books.txt.zst -o cache/books\n"
             "teach --teacher Qwen/Qwen3-0.6B-Base --data books.txt.zst -o cache/books --top-k 16")  # fmt: skip
    p.add_argument("--teacher", required=True, metavar="FOLDER|FILE.gguf|NAME",
                   help="a byte-level run, a GGUF file, or a model of transformers by folder or name")  # fmt: skip
    p.add_argument("-o", "--out", type=Path, required=True, help="the cache's folder; gone on with if it exists")
    data_options(p)
    p.add_argument("--top-k", type=positive, default=8, help="bytes kept of each distribution (default: 8)")
    p.add_argument("--window", type=byte_size, default=4096, help="bytes that the teacher reads at once (default: 4Ki)")
    p.add_argument("--share", type=float, default=0.1, help="of a text's probability, that a token off the text's own "
                   "tokenisation must hold to be followed; 1 follows none and is fastest (default: 0.1)")  # fmt: skip
    p.add_argument("--threads", type=positive, help="default: all cores")
    p.add_argument("--quiet", action="store_true", help="no progress bar")


def teach(words: argparse.Namespace) -> int:
    """Asks a teacher which bytes it expects in a training text, and keeps the answers for training."""
    import torch
    from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn, TransferSpeedColumn

    from cpu1.data.corpus import prepare
    from cpu1.teachers.open import open_teacher
    from cpu1.teachers.teach import teach as ask

    if words.threads:
        torch.set_num_threads(words.threads)
    teacher = open_teacher(words.teacher, words.share)
    corpus = prepare(words.data, field=words.field)
    columns = (TextColumn("teaching"), BarColumn(), DownloadColumn(), TransferSpeedColumn(), TimeRemainingColumn())
    try:
        with Progress(*columns, disable=words.quiet) as bar:
            task = bar.add_task("", total=None)
            found = ask(teacher, corpus, words.out, top_k=words.top_k, window=words.window,
                        progress=lambda done, units: bar.update(task, completed=done, total=units))  # fmt: skip
    except KeyboardInterrupt:
        print(f"cpu1: interrupted; run the same command again to go on ({words.out})", file=sys.stderr)
        return 130
    if not words.quiet:
        if found.bpb is not None:
            speed = found.bytes / found.seconds / 1e3
            print(f"{found.bytes:,} bytes in {found.seconds:.0f} s, {speed:.1f} KB/s: {found.bpb:.4f} bits per byte")
        print(f"{words.out}: {found.size:,} bytes, {found.size / found.units:.1f} a byte of text")
    return 0
