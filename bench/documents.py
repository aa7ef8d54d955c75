"""Window and document figure of packed models, by the engine: `python bench/documents.py TEXT MODEL... [--json]`.

    python bench/documents.py en-mix.txt checkpoints/*-nano-r2-s0.cpu1 --json

Runs that were trained before the document figure existed get it this way. Texts are those of a run's own result: the
held-out part, excerpts in windows that start cold, and longer parts from their beginning (docs/lookups.md). --all takes
the other parts too, as for texts that no run has read.
"""

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

import cpu1
from cpu1.cli.options import byte_size
from cpu1.data.corpus import Corpus, prepare
from cpu1.errors import UserError
from cpu1.evaluation.report import DOCUMENT_BYTES, DOCUMENT_SHARE, EVAL_BYTES, EXCERPT_BYTES
from cpu1.evaluation.statistics import bpb_interval
from cpu1.runtime.model import Model

CONTEXT = 1024


def main() -> int:
    args = _parse()
    rows = []
    try:
        corpus = prepare(args.text)
        for path in args.models:
            row = measured(cpu1.load(path), corpus, args.bytes, args.all)
            rows.append({"file": path.name, **row})
            print(f"{path.name:28}{row['window_bpb']:8.4f}{row['document_bpb']:8.4f}", file=sys.stderr, flush=True)
    except UserError as error:
        print(f"bench/documents.py: {error}", file=sys.stderr)
        return 2
    if args.json:
        print(json.dumps({"text": corpus.name, "rows": rows}, indent=1))
    return 0


def measured(model: Model, corpus: Corpus, size: int, all_parts: bool) -> dict[str, Any]:
    """Both figures, with the bits of each document."""
    parts = tuple(corpus.splits) if all_parts else ("valid",)
    whole_size = size if all_parts else DOCUMENT_SHARE * size
    excerpts = [document for part in parts for document in corpus.select(part, size, EXCERPT_BYTES)]
    whole = [document for part in parts for document in corpus.select(part, whole_size, DOCUMENT_BYTES)]
    windows, documents = bits(model, excerpts, CONTEXT), bits(model, whole, DOCUMENT_BYTES)
    found: dict[str, Any] = {name: model.about["run"][name] for name in ("run", "scale", "round", "seed")}
    for name, costs, texts in (("window", windows, excerpts), ("document", documents, whole)):
        interval = bpb_interval(costs * np.log(2), [len(text) for text in texts])
        found |= {f"{name}_bpb": interval.value, f"{name}_interval": [interval.low, interval.high]}
    sizes = [len(text) for text in excerpts]
    return found | {"documents": {"bytes": sizes, "bits": windows.tolist()}, "document_bytes": sum(map(len, whole))}


def bits(model: Model, texts: Sequence[NDArray[np.uint8]], length: int) -> NDArray[np.float64]:
    """Bits of each text, read in pieces of `length` bytes that start cold."""
    pieces = ([text[i : i + length].tobytes() for i in range(0, len(text), length)] for text in texts)
    return np.array([sum(float(model.score(piece).sum()) for piece in each) for each in pieces])


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("text", help="like --data of `cpu1 train`")
    parser.add_argument("models", nargs="+", type=Path, metavar="MODEL")
    parser.add_argument("--bytes", type=byte_size, default=EVAL_BYTES, help="in windows, of a part (default: 256Ki)")
    parser.add_argument("--all", action="store_true", help="all parts of the text, not the held-out one alone")
    parser.add_argument("--json", action="store_true")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
