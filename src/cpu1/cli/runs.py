"""Commands for one trained run: eval, pack, and unpack, which makes a run folder."""

import argparse
import json
from pathlib import Path

from cpu1.cli.options import (
    SOURCES,
    Command,
    byte_size,
    dense_option,
    device_option,
    field_option,
    json_option,
    out_option,
    positive,
)
from cpu1.errors import UserError


def add(command: Command) -> None:
    """Adds the commands `eval`, `pack` and `unpack`."""
    p = command(
        evaluate,
        "eval",
        "eval runs/07-nano-r1-s0",
        "eval runs/07-nano-r1-s0 --data book.txt --split all",
        "eval runs/07-nano-r1-s0 --context 4096 --json",
    )
    p.add_argument("folder", type=Path, metavar="FOLDER", help="folder of a trained run")
    p.add_argument(
        "--data", metavar="SOURCE", help=f"text to score: {SOURCES} (default: the text that the run was trained on)"
    )
    field_option(p)
    p.add_argument(
        "--split",
        choices=("train", "valid", "test", "all"),
        default="valid",
        help="part of the text to score (default: %(default)s)",
    )
    p.add_argument(
        "--context",
        type=positive,
        metavar="N",
        help="bytes before each prediction that the model may see (default: as in training)",
    )
    p.add_argument(
        "--max-bytes",
        type=byte_size,
        default="256Ki",
        metavar="SIZE",
        help="largest amount of text to score (default: %(default)s)",
    )
    p.add_argument("--joined", action="store_true", help="score documents as one stream, with a NUL byte between them")
    device_option(p)
    json_option(p)

    p = command(
        pack, "pack", "pack runs/07-nano-r1-s0 -o model.cpu1", "pack runs/03-nano-r1-s0 -o dense.cpu1 --dense bf16"
    )
    p.add_argument("folder", type=Path, metavar="FOLDER", help="folder of a trained run")
    out_option(p, "packed file to write", required=True)
    dense_option(p)

    p = command(unpack, "unpack", "unpack model.cpu1 -o runs/mine")
    p.add_argument("file", type=Path, metavar="FILE", help="packed model, a .cpu1 file")
    out_option(p, "run folder to make", "FOLDER", required=True)


def evaluate(args: argparse.Namespace) -> int:
    """Score a trained run on any text.

    Baselines (byte statistics, zstd, xz) are measured on the same bytes.
    """
    from cpu1.device import choose
    from cpu1.evaluation.report import evaluate_text, print_evaluation

    scores = evaluate_text(
        args.folder, args.data, args.field, args.split, args.context, args.max_bytes, args.joined, choose(args.device)
    )
    if args.json:
        print(json.dumps(scores, indent=1))
    else:
        print_evaluation(scores)
    return 0


def pack(args: argparse.Namespace) -> int:
    """Pack a trained run into one small file that runs without torch."""
    from cpu1.runs.pack import pack_run

    size = pack_run(args.folder, args.out, args.dense)
    print(f"{args.out}: {size:,} bytes")
    return 0


def unpack(args: argparse.Namespace) -> int:
    """Make a run folder with fp32 weights from a packed model."""
    from cpu1.format.packed import open_packed
    from cpu1.format.packed import unpack as write_folder

    if args.out.exists():
        raise UserError(f"{args.out} exists; name a new folder")
    try:
        write_folder(open_packed(args.file), args.out)
    except ValueError as error:
        raise UserError(str(error)) from None
    print(f"run folder: {args.out}")
    return 0
