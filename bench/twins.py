"""Ternary beside int8, int4 and bf16 weights, by size of file and by speed: `python bench/twins.py TEXT RUN_FOLDER...`.

    cpu1 train 04 --scale nano --bytes 12M --data mix.txt --out runs/ternary
    cpu1 train 04 --scale nano --bytes 12M --data mix.txt --with linear=Dense --with width=128 --out runs/full
    python bench/twins.py mix.txt runs/ternary runs/full --out results/bench/twins.json

A ternary run is packed as it is, a full-precision one three times: its matrices in int8, in bf16, and in 4 bits. The
engine has no kernel for 4 bits. Such a model is scored with matrices of the trunk that were rounded to them, in groups
of 32 that share a scale (4.5 bits a weight, as in llama.cpp's Q4_0); its size is counted, and it has no speed. Each is
scored as packed, on the text's held-out part, in windows and as documents. All generate in turn, one thread, medians.
"""

import argparse
import sys
import tempfile
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import torch
from documents import measured

import cpu1
from cpu1.cli.options import byte_size
from cpu1.data.corpus import Corpus, prepare
from cpu1.errors import UserError
from cpu1.evaluation.speed import in_turn, write_packed
from cpu1.files import read_json, write_json
from cpu1.model.ingredients.linear import DenseProjection, TernaryProjection
from cpu1.model.network import Model as Network
from cpu1.runs.pack import pack_trained
from cpu1.runs.trained import load
from cpu1.runtime.model import Model
from cpu1.runtime.processor import processor

GROUP, BITS = 32, 4.5  # weights that share a scale of 16 bits, and bits a weight with it
EVAL_BYTES = 128 << 10
KINDS = ("window", "document")


def main() -> int:
    args = _parse()
    try:
        corpus = prepare(args.text)
        with tempfile.TemporaryDirectory() as folder:
            rows, models = compare(args.folders, corpus, args.bytes, Path(folder))
            speeds = in_turn({number: partial(write_packed, model) for number, model in models.items()})
            for number, (_, bytes_per_s) in speeds.items():
                rows[number]["bytes_per_s"] = bytes_per_s
    except UserError as error:
        print(f"bench/twins.py: {error}", file=sys.stderr)
        return 2
    for row in rows:
        told = f"{row['bytes_per_s']:10,.0f}" if row["bytes_per_s"] else f"{'':10}"
        print(
            f"{row['run']:4}{row['width']:5}  {row['weights']:8}{row['file_bytes']:11,}{told}"
            f"{row['window_bpb']:9.4f}{row['document_bpb']:9.4f}"
        )
    if args.out:
        write_json(args.out, {"processor": processor(), "text": corpus.name, "rows": rows})
    return 0


def compare(
    folders: Sequence[Path], corpus: Corpus, size: int, work: Path
) -> tuple[list[dict[str, Any]], dict[int, Model]]:
    """A row for each form of each run, and the models that can generate, by the row's number."""
    rows: list[dict[str, Any]] = []
    models: dict[int, Model] = {}
    for folder in folders:
        result, recipe = read_json(folder / "result.json"), read_json(folder / "recipe.json")
        for weights in forms(folder):
            path = work / f"{len(rows)}.cpu1"
            file_bytes = packed(folder, result, weights, path)
            model = cpu1.load(path)
            if weights != "int4":
                models[len(rows)] = model
            about = {name: result[name] for name in ("run", "scale", "seed", "params", "bytes_seen")}
            bpb = measured(model, corpus, size, False)
            about |= {
                name: bpb[name] for name in ("window_bpb", "window_interval", "document_bpb", "document_interval")
            }
            form = {"width": recipe["width"], "weights": weights, "file_bytes": file_bytes, "bytes_per_s": None}
            rows.append(about | form)
            print(f"{folder.name} {weights}: {bpb['document_bpb']:.4f}", file=sys.stderr, flush=True)
    return rows, models


def forms(folder: Path) -> tuple[str, ...]:
    """In which forms a run's matrices are packed."""
    return ("ternary",) if has_ternary(load(folder).model) else ("int8", "int4", "bf16")


def has_ternary(model: Network) -> bool:
    return any(isinstance(module, TernaryProjection) for module in model.modules())


def packed(folder: Path, about: dict[str, Any], weights: str, path: Path) -> int:
    """Packs a run in one form; returns the bytes that its file has, or would have."""
    trained = load(folder)
    if weights != "int4":
        return pack_trained(trained, about, path, "bf16" if weights == "bf16" else "int8")
    int8 = pack_trained(trained, about, path)
    rounded = 0
    for block in trained.model.blocks:
        for module in block.modules():
            if isinstance(module, DenseProjection):
                with torch.no_grad():
                    module.weight.copy_(in_four_bits(module.weight))
                rounded += module.weight.numel()
    pack_trained(trained, about, path, "bf16")  # which holds 4 bits and a scale nearly as they are
    return int8 - round(rounded * (8 - BITS) / 8)


def in_four_bits(weight: torch.Tensor) -> torch.Tensor:
    """Weights (outputs, inputs) rounded to 16 levels, with the scale of each group that errs least."""
    groups = weight.reshape(-1, GROUP)
    largest = groups.abs().amax(-1, keepdim=True).clamp_min(1e-12)
    best, least = groups, torch.full_like(largest, torch.inf)
    for share in torch.linspace(0.7, 1.0, 16):
        scale = largest * share / 7.5
        # levels lie between the whole numbers, so that there are as many of each sign
        levels = (groups / scale - 0.5).round().clamp(-8, 7) + 0.5
        error = (levels * scale - groups).square().sum(-1, keepdim=True)
        best = torch.where(error < least, levels * scale, best)
        least = torch.minimum(error, least)
    return best.reshape(weight.shape)


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("text", help="like --data of `cpu1 train`")
    parser.add_argument("folders", nargs="+", type=Path, metavar="RUN_FOLDER")
    parser.add_argument("--bytes", type=byte_size, default=EVAL_BYTES, help="held-out bytes scored (default: 128Ki)")
    parser.add_argument("--out", type=Path, metavar="FILE", help="also write the figures there")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
