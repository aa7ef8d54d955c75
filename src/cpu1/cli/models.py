"""Verbs that use a trained model: score, continue, measure, pack."""

import argparse
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from cpu1.cli.options import (
    DENSE_HELP,
    WIDTHS,
    Verb,
    byte_size,
    count,
    data_options,
    device_option,
    input_bytes,
    positive,
)
from cpu1.cli.words import DEFAULT_HELP, is_packed, model_and_text, words_option
from cpu1.errors import UserError

if TYPE_CHECKING:
    from cpu1.runtime.sampling import Sampling


def add(verb: Verb) -> None:
    p = verb(evaluate, "eval", "eval runs/07-nano-r1-s0\neval runs/07-nano-r1-s0 --data book.txt --split all\n"
             "eval runs/07-nano-r1-s0 --context 4096 --json")  # fmt: skip
    p.add_argument("folder", type=Path, help="folder of a trained run")
    data_options(p, default=None)
    p.add_argument("--split", choices=("train", "valid", "test", "all"), default="valid")
    p.add_argument("--context", type=positive, help="bytes that a prediction may look back (default: as trained)")
    p.add_argument("--max-bytes", type=byte_size, default=256 * 1024, help="score at most so much (default: 256Ki)")
    p.add_argument("--joined", action="store_true", help="let documents run into each other, a NUL byte between")
    device_option(p)
    p.add_argument("--json", action="store_true")

    p = verb(generate, "generate", 'generate "Once upon a time"\n'
             'generate runs/07-nano-r1-s0 "The " --temperature 0 --max-bytes 100\n'
             'generate model.cpu1 - --top-p 0.9 --stop "\\n\\n" < prompt.txt')  # fmt: skip
    words_option(p, "[MODEL] [PROMPT]", "a packed file, or the folder of a trained run (through torch; default: "
                 f"{DEFAULT_HELP}); and text to continue, or - for standard input")  # fmt: skip
    p.add_argument("--max-bytes", type=positive, default=256)
    p.add_argument("--temperature", type=float, default=0.8, help="0 is greedy (default: 0.8)")
    p.add_argument("--top-k", type=int, default=0)
    p.add_argument("--top-p", type=float, default=1.0)
    p.add_argument("--min-p", type=float, default=0.0)
    p.add_argument("--seed", type=count, default=0)
    p.add_argument("--stop", action="append", default=[], metavar="TEXT", help="end before this text; may be repeated")
    p.add_argument("--echo", action="store_true", help="print the prompt as well")
    p.add_argument("--threads", type=positive, default=1)
    device_option(p, "of a run folder's model", default="cpu")

    p = verb(score, "score", "score book.txt\nscore model.cpu1 - --json < book.txt")
    words_option(p, "[MODEL] TEXT", f"a packed file (default: {DEFAULT_HELP}); and a file of text, or - for "
                 "standard input")  # fmt: skip
    p.add_argument("--threads", type=positive, default=1)
    p.add_argument("--json", action="store_true")

    p = verb(bench, "bench", "bench\nbench model.cpu1 --threads 2 --json")
    p.add_argument("model", type=Path, nargs="?", help=f"a packed file (default: {DEFAULT_HELP})")
    p.add_argument("--steps", type=positive, default=256, help="patches or tokens of one repeat (default: 256)")
    p.add_argument("--repeats", type=positive, default=15, help="of which the median counts (default: 15)")
    p.add_argument("--threads", type=positive, default=1)
    p.add_argument("--json", action="store_true")

    p = verb(pack, "pack", "pack runs/07-nano-r1-s0 -o model.cpu1\npack runs/03-nano-r1-s0 -o dense.cpu1 --dense bf16")
    p.add_argument("folder", type=Path, help="folder of a trained run")
    p.add_argument("-o", "--out", type=Path, required=True, help="the file to write")
    p.add_argument("--dense", choices=WIDTHS, default="int8", help=DENSE_HELP)

    p = verb(unpack, "unpack", "unpack model.cpu1 -o runs/mine")
    p.add_argument("file", type=Path, help="a packed model")
    p.add_argument("-o", "--out", type=Path, required=True, help="the run folder to make")


def evaluate(words: argparse.Namespace) -> int:
    """Scores a trained run on any text, beside the baselines on the same bytes."""
    from cpu1.device import choose
    from cpu1.evaluation.report import evaluate_text, print_evaluation

    found = evaluate_text(
        words.folder,
        words.data,
        words.field,
        words.split,
        words.context,
        int(words.max_bytes),
        words.joined,
        choose(words.device),
    )
    if words.json:
        print(json.dumps(found, indent=1))
    else:
        print_evaluation(found)
    return 0


def generate(words: argparse.Namespace) -> int:
    """Continues a prompt, streaming whole characters."""
    from cpu1.runtime.sampling import Sampling
    from cpu1.runtime.text import stream_text

    sampling = Sampling(words.temperature, words.top_k, words.top_p, words.min_p, words.seed)
    model, text = model_and_text(words)
    prompt = sys.stdin.buffer.read() if text == "-" else (text or "").encode(errors="surrogateescape")
    if words.echo:
        print(prompt.decode(errors="replace"), end="", flush=True)
    chunks = _continuation(model, prompt, words.max_bytes, sampling, words.threads, words.device)
    for text in stream_text(chunks, words.stop):
        print(text, end="", flush=True)
    print()
    return 0


def _continuation(
    model: Path, prompt: bytes, size: int, sampling: "Sampling", threads: int, device: str
) -> Iterator[bytes]:
    if is_packed(model):
        from cpu1.runtime.model import PackedModel

        return PackedModel(model, threads).chunks(prompt, size, sampling)
    import torch

    from cpu1.device import choose
    from cpu1.runs.generate import generate as continue_text
    from cpu1.runs.trained import load

    torch.set_num_threads(threads)
    return continue_text(load(model, choose(device)), prompt, size, sampling)


def score(words: argparse.Namespace) -> int:
    """Says how many bits per byte a packed model needs for a text."""
    from cpu1.runtime.model import PackedModel

    model, name = model_and_text(words, needs_text=True)
    if name is None:
        raise UserError("no text is named; give a file, or - for standard input")
    text = input_bytes(Path(name))
    if not text:
        raise UserError(f"{name}: empty, nothing to score")
    bits = PackedModel(model, words.threads).score(text)
    if words.json:
        print(json.dumps({"bytes": len(text), "bits": float(bits.sum()), "bpb": float(bits.mean())}))
    else:
        print(f"{name}: {bits.mean():.4f} bits per byte, {len(text):,} bytes as one document")
    return 0


def bench(words: argparse.Namespace) -> int:
    """Measures a packed model: generation and prompt a second, memory, load time, and the machine's own limits."""
    from cpu1.runtime.default import default_model
    from cpu1.runtime.speed import measure

    try:
        found = measure(words.model or default_model(), words.steps, words.repeats, words.threads)
    except ValueError as error:
        raise UserError(str(error)) from None
    if words.json:
        print(json.dumps(found))
        return 0
    for name, value in found.items():
        if isinstance(value, float | int):
            print(f"{name:26}{value:>16,.2f}" if isinstance(value, float) else f"{name:26}{value:>16,}")
        elif isinstance(value, str):
            print(f"{name:26}{value:>16}")
    print("microseconds a patch, by operation:")
    for name, spent in sorted(found["profile_us_per_patch"].items(), key=lambda row: -row[1]):
        print(f"  {name:24}{spent:>16.2f}")
    return 0


def pack(words: argparse.Namespace) -> int:
    """Packs a trained run into one small file that runs without torch."""
    from cpu1.runs.pack import pack_run

    size = pack_run(words.folder, words.out, words.dense)
    print(f"{words.out}: {size:,} bytes")
    return 0


def unpack(words: argparse.Namespace) -> int:
    """Makes a run folder with fp32 weights of a packed file."""
    from cpu1.format.packed import open_packed
    from cpu1.format.packed import unpack as write_folder

    if words.out.exists():
        raise UserError(f"{words.out} exists; name a new folder")
    try:
        write_folder(open_packed(words.file), words.out)
    except ValueError as error:
        raise UserError(str(error)) from None
    print(f"run folder: {words.out}")
    return 0
