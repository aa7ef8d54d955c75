"""Commands that run a model: generate, score, learn, bench."""

import argparse
import json
import sys
from collections.abc import Iterable, Iterator
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING

from cpu1.cli import corpora
from cpu1.cli.corpora import shares
from cpu1.cli.options import (
    PACKED,
    STANDARD,
    Command,
    adapter_option,
    byte_size,
    count,
    device_option,
    field_option,
    input_bytes,
    json_option,
    keep_inputs,
    learn_option,
    model_option,
    model_path,
    on_option,
    opened_model,
    out_option,
    positive,
    seed_option,
    threads_option,
)
from cpu1.errors import UserError

if TYPE_CHECKING:
    from cpu1.runtime.sampling import Sampling


def add(command: Command) -> None:
    """Adds the commands `generate`, `score`, `learn` and `bench`."""
    p = command(
        generate,
        "generate",
        'generate "Once upon a time"',
        'generate "The " -m model.cpu1 --temperature 0 --max-bytes 100',
        "generate - -m runs/07-nano-r1-s0 --top-p 0.9 --stop $'\\n\\n' < prompt.txt",
    )
    p.add_argument(
        "prompt",
        nargs="?",
        default="",
        metavar="PROMPT",
        help="text to continue, or - to read it from standard input (default: none)",
    )
    model_option(p, f"packed model (a {PACKED} file), or run folder, which needs torch")
    p.add_argument(
        "--max-bytes",
        type=byte_size,
        default="256",
        metavar="SIZE",
        help="stop after this many bytes of text (default: %(default)s)",
    )
    p.add_argument(
        "--temperature",
        type=float,
        default=0.8,
        metavar="T",
        help="randomness: 0 always takes the likeliest, 1 samples as the model predicts (default: %(default)s)",
    )
    p.add_argument(
        "--top-k",
        type=count,
        default=0,
        metavar="K",
        help="sample only from the K likeliest; 0 means all (default: %(default)s)",
    )
    p.add_argument(
        "--top-p",
        type=float,
        default=1.0,
        metavar="P",
        help="sample only from the likeliest that together have probability P (default: %(default)s)",
    )
    p.add_argument(
        "--min-p",
        type=float,
        default=0.0,
        metavar="P",
        help="drop what is less likely than P times the likeliest (default: %(default)s)",
    )
    seed_option(p, "seed of the random choices")
    p.add_argument(
        "--stop", action="append", default=[], metavar="TEXT", help="stop before this text appears; repeatable"
    )
    p.add_argument("--echo", action="store_true", help="print the prompt before the text")
    p.add_argument("--raw", action="store_true", help="write bytes as they are drawn, for text that is not UTF-8")
    learn_option(p, "learn from the prompt, so that the text continues in its manner (packed byte models)")
    adapter_option(p)
    threads_option(p)
    device_option(p, "cpu", "device for a run folder; packed models run on the CPU")

    p = command(
        score,
        "score",
        "score book.txt",
        "score - -m model.cpu1 --json < book.txt",
        "score pages/ --on ray --out scored.parquet",
        "score posts.jsonl --field body --on ray --json",
    )
    p.add_argument(
        "files",
        nargs="+",
        metavar="FILE",
        help="text to score, or - to read standard input; with --on, Parquet files or JSON lines of many texts",
    )
    model_option(p)
    learn_option(p, "let the model learn from the text while it reads; its figure is not that of the model alone")
    adapter_option(p)
    threads_option(p)
    json_option(p)
    on_option(p, "score each text of the files")
    field_option(p)
    out_option(p, "with --on, file to write: the same rows with bits_per_byte, bytes and bucket")
    p.add_argument(
        "--buckets",
        type=shares,
        metavar="LOW,HIGH",
        help="with --on, per cent of texts below the bounds of head, middle and tail (default: thirds)",
    )

    p = command(learn, "learn", "learn notes.txt -o mine.cpa", "learn mail/*.txt -o mine.cpa -m model.cpu1")
    p.add_argument("files", type=Path, nargs="+", metavar="FILE", help="text to learn from, or - for standard input")
    out_option(p, "adapter to write", required=True)
    model_option(p)
    adapter_option(p)
    threads_option(p)
    p.set_defaults(learn=True)

    p = command(bench, "bench", "bench", "bench -m model.cpu1 --threads 2 --json")
    model_option(p)
    p.add_argument(
        "--steps",
        type=positive,
        default=256,
        metavar="N",
        help="model steps per repeat; each yields four bytes, or one token of a BPE model (default: %(default)s)",
    )
    p.add_argument(
        "--repeats",
        type=positive,
        default=15,
        metavar="N",
        help="number of repeats; the median is printed (default: %(default)s)",
    )
    threads_option(p)
    json_option(p)


def generate(args: argparse.Namespace) -> int:
    """Continue a prompt.

    The text is printed while it is generated, in whole characters, or with --raw in bytes.
    """
    from cpu1.runtime.sampling import Sampling
    from cpu1.runtime.text import as_bytes, stream_text

    sampling = Sampling(args.temperature, args.top_k, args.top_p, args.min_p, args.seed)
    if args.prompt.endswith(PACKED) and not any(map(str.isspace, args.prompt)):
        raise UserError(
            f"{args.prompt} is the prompt here; did you mean -m {args.prompt}? "
            "To continue this text, pass it through standard input (-)"
        )
    model = model_path(args)
    standard = args.prompt == STANDARD
    prompt: bytes = sys.stdin.buffer.read() if standard else as_bytes(args.prompt)
    if args.raw and args.stop:
        raise UserError("--raw and --stop: bytes are not searched for text; leave out one of them")
    chunks = _continuation(model, prompt, args.max_bytes, sampling, args)
    if args.raw:
        return _write_bytes([prompt] if args.echo else [], chunks)
    if args.echo:
        print(prompt.decode(errors="replace"), end="", flush=True)
    for text in stream_text(chunks, args.stop):
        print(text, end="", flush=True)
    print()
    return 0


def _write_bytes(*parts: Iterable[bytes]) -> int:
    for chunk in chain(*parts):
        sys.stdout.buffer.write(chunk)
        sys.stdout.buffer.flush()
    return 0


def _continuation(
    model: Path, prompt: bytes, size: int, sampling: "Sampling", args: argparse.Namespace
) -> Iterator[bytes]:
    if model.is_file() or model.suffix == PACKED:
        return opened_model(model, args).chunks(prompt, size, sampling)
    if args.learn or args.adapter:
        raise UserError(f"--learn and --adapter are for packed models: cpu1 pack {model} makes one")
    import torch

    from cpu1.device import choose
    from cpu1.runs.generate import generate as continue_text
    from cpu1.runs.trained import load

    torch.set_num_threads(args.threads)
    return continue_text(load(model, choose(args.device)), prompt, size, sampling)


def score(args: argparse.Namespace) -> int:
    """Measure how well a model predicts a text, in bits per byte.

    Lower is better. The file is read as one document. On a cluster each text of the files is scored alone.
    """
    corpora.check(args)
    if args.on is not None:
        return corpora.score(args)
    file = Path(args.files[0])
    model, text = model_path(args), input_bytes(file)
    if not text:
        raise UserError(f"{file}: empty, nothing to score")
    opened = opened_model(model, args)
    bits = opened.score(text)
    found = {"bytes": len(text), "bits": float(bits.sum()), "bpb": float(bits.mean()), "learning": opened.learn}
    how = ", learning while it reads" if opened.learn else ""
    line = f"{file}: {bits.mean():.4f} bits per byte, {len(text):,} bytes as one document{how}"
    print(json.dumps(found) if args.json else line)
    return 0


def learn(args: argparse.Namespace) -> int:
    """Let a model read texts, and keep what it learns in a file.

    The file is an adapter: `cpu1 generate --adapter` and `cpu1 score --adapter` start from it, with the same model.
    """
    from cpu1.runtime.adapter import write

    keep_inputs(args.out, *args.files, model_path(args), args.adapter)
    texts = [input_bytes(file) for file in args.files]
    model = opened_model(model_path(args), args)
    for file, text in zip(args.files, texts, strict=True):
        model.prime(text)
        print(f"{file}: {len(text):,} bytes read", file=sys.stderr)
    size = write(model, args.out)
    print(f"{args.out}: {size:,} bytes", file=sys.stderr)
    return 0


def bench(args: argparse.Namespace) -> int:
    """Measure a model's speed and memory on this machine.

    Prints the speed of generation and of reading a prompt, memory, load time, the limits of the machine,
    and the time that each operation takes.
    """
    from cpu1.runtime.speed import measure

    try:
        figures = measure(model_path(args), args.steps, args.repeats, args.threads)
    except ValueError as error:
        raise UserError(str(error)) from None
    if args.json:
        print(json.dumps(figures))
        return 0
    for name, value in figures.items():
        if isinstance(value, float | int):
            print(f"{name:26}{value:>16,.2f}" if isinstance(value, float) else f"{name:26}{value:>16,}")
        elif isinstance(value, str):
            print(f"{name:26}{value:>16}")
    print("microseconds per step, by operation:")
    for name, spent in sorted(figures["profile_us_per_patch"].items(), key=lambda row: -row[1]):
        print(f"  {name:24}{spent:>16.2f}")
    return 0
