"""The engine beside torch on trained runs: `python bench/parity.py STUDY_FOLDER [--bytes 100k] [--json]`.

For every finished run of a study: bits per byte of torch's evaluation and of the engine on the same held-out windows,
packed with the full-precision parts in fp32 and in int8 (the default), and greedy text from both. Greedy texts may part
only where torch's two best candidates lie within 1e-4; where they first part, that gap is printed.
"""

import argparse
import json
import sys
import tempfile
from itertools import takewhile
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from cpu1.cli.options import byte_size
from cpu1.data.corpus import prepare
from cpu1.evaluation.bits import score
from cpu1.files import read_json
from cpu1.runs.pack import pack_run
from cpu1.runs.trained import Trained, load
from cpu1.runtime.model import Model
from cpu1.runtime.sampling import Sampler, Sampling

CONTEXT = 1024  # units of a window
GREEDY_BYTES = 2000
TIE = 1e-4


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("study", type=Path)
    parser.add_argument("--bytes", type=byte_size, default=100_000, help="held-out bytes to score (default: 100k)")
    parser.add_argument("--json", action="store_true")
    args = parser.parse_args()
    torch.set_num_threads(1)
    rows = [compare(path.parent, args.bytes) for path in sorted(args.study.glob("*/result.json"))]
    if args.json:
        print(json.dumps(rows, indent=1))
    else:
        print("run    bytes     torch BPB  engine-torch  int8-fp32  greedy bytes the same  gap where they part")
        for row in rows:
            print(
                f"{row['run']:4}{row['bytes']:9,}  {row['torch_bpb']:10.5f}  {row['difference']:+12.6f}  "
                f"{row['int8_cost']:+9.5f}  {row['greedy_same']:>21}  {row['gap'] or ''}"
            )
    good = all(abs(row["difference"]) < 5e-4 and (row["gap"] is None or row["gap"] < TIE) for row in rows)
    print("parity holds" if good else "PARITY IS BROKEN", file=sys.stderr)
    return int(not good)


def compare(folder: Path, size: int) -> dict[str, Any]:
    """One run, packed twice into a temporary folder."""
    trained, settings = load(folder), read_json(folder / "settings.json")
    corpus = prepare(settings["data_source"])
    excerpts = corpus.select("valid", size, 4 * CONTEXT)
    texts = [text[i : i + CONTEXT] for text in excerpts for i in range(0, len(text), CONTEXT)]
    wanted = score(trained.model, texts, 64 * CONTEXT, trained.tokenizer)
    with tempfile.TemporaryDirectory() as place:
        bpb = {}
        for dense in ("fp32", "int8"):
            pack_run(folder, Path(place) / dense, dense)
            model = Model(Path(place) / dense)
            bpb[dense] = sum(model.score(bytes(text)).sum() for text in texts) / wanted.bytes.sum()
        same, gap = greedy(trained, Model(Path(place) / "fp32"))
    return {
        "run": settings["run"],
        "bytes": int(wanted.bytes.sum()),
        "torch_bpb": wanted.bpb,
        "difference": bpb["fp32"] - wanted.bpb,
        "int8_cost": bpb["int8"] - bpb["fp32"],
        "greedy_same": same,
        "gap": gap,
    }


@torch.inference_mode()
def greedy(trained: Trained, packed: Model) -> tuple[int, float | None]:
    """How many greedy units agree, and torch's gap between its two best where they first part (None: nowhere)."""
    theirs = packed.units().generate(GREEDY_BYTES, Sampler(Sampling(temperature=0)), may_end=False)
    logits = np.array(list(best_logits(trained, theirs)))
    agree = sum(1 for _ in takewhile(bool, logits.argmax(1) == theirs))
    if agree == len(theirs):
        return agree, None
    top = np.sort(logits[agree])[-2:]
    return agree, float(top[1] - top[0])


def best_logits(trained: Trained, units: NDArray[np.uint32]) -> Any:
    """Torch's logits of each unit of a text that it draws itself, step by step; the separator is barred."""
    model, state = trained.model, trained.model.start()
    begun = torch.empty(1, 0, dtype=torch.int64)
    for unit in units.astype(np.int64):
        logits = model.next_logits(begun, state, begun.shape[1])[0].numpy()
        logits[trained.recipe.separator] = -1e30
        yield logits
        begun = torch.cat((begun, torch.tensor([[unit]])), 1)
        if begun.shape[1] == model.patch:
            _, state = model.extend(begun, state, own=model.patch)
            begun = begun[:, :0]


if __name__ == "__main__":
    sys.exit(main())
