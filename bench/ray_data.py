"""Ray Data on all cores against one process on one core: `python bench/ray_data.py [--data SOURCE] [--json]`.

Texts are scored for their bits per byte, by `cpu1.corpora.on_ray` with an actor on each of --cores cores, and by one
process with one thread, whose model is loaded. The two take turns; `speed_up` is the median of the rounds' ratios by
the clock. Each round of Ray starts its actors. `start_s` is what a round of a text for each core took, and
`speed_up_without_start` leaves it out, as in a long job. Both have the same texts, --bytes of them in pieces of 1,000
bytes, and the figures have to be equal.
"""

import argparse
import json
import os
import statistics
import sys
import time
from collections.abc import Callable, Iterator
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
from streams import processor

from cpu1.cli.options import byte_size, positive
from cpu1.cluster import connected
from cpu1.corpora.on_ray import bits_of, in_order, mapped
from cpu1.corpora.scorer import Scorer, packed_bytes
from cpu1.data.formats import cut
from cpu1.data.sources import documents
from cpu1.errors import UserError

LENGTH = 1000  # bytes of a text


def texts(source: str, size: int) -> list[str]:
    """`size` bytes of text in pieces. UserError where there is less."""
    pieces = (piece for document in documents(source) for piece in cut(document, LENGTH))
    found = [piece.decode(errors="ignore") for piece in islice(pieces, size // LENGTH)]
    if sum(map(len, found)) < size // 4:
        raise UserError(f"{source}: too little text for {size:,} bytes; take less (--bytes)")
    return found


def seconds(work: Callable[[], Any]) -> tuple[float, Any]:
    begun = time.perf_counter()
    found = work()
    return time.perf_counter() - begun, found


def measure(args: argparse.Namespace) -> dict[str, Any]:
    rows = texts(args.data, args.bytes)
    packed = packed_bytes(args.model)
    scorer = Scorer(packed)
    with connected("ray") as ray:
        in_order(ray)
        few = ray.data.from_items([{"text": text} for text in rows[: args.cores]])
        start, _ = seconds(lambda: bits_of(mapped(few, Scorer, packed, "text", args.cores)))
        rounds = list(_rounds(ray, args, rows, packed, scorer))
    cluster, alone = (sorted(each)[len(rounds) // 2] for each in zip(*rounds, strict=True))
    size = sum(len(text.encode()) for text in rows)
    return {
        "processor": processor(),
        "load": [round(load, 1) for load in os.getloadavg()],
        "cores": args.cores,
        "texts": len(rows),
        "bytes": size,
        "start_s": round(start, 2),
        "ray_bytes_per_s": round(size / cluster),
        "alone_bytes_per_s": round(size / alone),
        "speed_up": round(statistics.median(one / many for many, one in rounds), 3),
        "speed_up_without_start": round(statistics.median(one / max(many - start, 1e-9) for many, one in rounds), 3),
        "rounds": [[round(each, 2) for each in pair] for pair in rounds],
    }


def _rounds(
    ray: Any, args: argparse.Namespace, rows: list[str], packed: bytes, scorer: Scorer
) -> Iterator[tuple[float, float]]:
    """Seconds of the cluster, its start included, and of one process."""
    dataset = ray.data.from_items([{"text": text} for text in rows]).materialize()
    for _ in range(args.rounds):
        many, found = seconds(lambda: bits_of(mapped(dataset, Scorer, packed, "text", args.cores)))
        one, (wanted, _) = seconds(lambda: scorer.figures(text.encode() for text in rows))
        if not np.array_equal(found, wanted):
            raise UserError("the cluster's figures are not those of one process")
        yield many, one


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", default="python-stdlib", help="text to score (default: %(default)s)")
    parser.add_argument("--bytes", type=byte_size, default="1M", help="of it (default: %(default)s)")
    parser.add_argument("--cores", type=positive, default=os.cpu_count() or 1, help="actors (default: one for each)")
    parser.add_argument("--rounds", type=positive, default=5, help="(default: %(default)s)")
    parser.add_argument("--model", type=Path, help="a packed file (default: the default model)")
    parser.add_argument("--json", action="store_true")
    args = parser.parse_args()
    try:
        found = measure(args)
    except UserError as error:
        print(f"bench/ray_data.py: {error}", file=sys.stderr)
        return 2
    print(json.dumps(found, indent=1) if args.json else "\n".join(f"{name}: {value}" for name, value in found.items()))
    return 0


if __name__ == "__main__":
    sys.exit(main())
