"""Filtering a noisy corpus: `python bench/filter_corpus.py --clean FILE... --foreign NAME=FILE... [options] [--json]`.

    python bench/filter_corpus.py --clean books.txt reference.txt tech.txt --foreign Spanish=spanish.txt \\
        --train books-train.txt reference-train.txt tech-train.txt --lmplz kenlm/build/bin/lmplz

A corpus is mixed of documents of --length bytes in known shares: clean text that the model was not trained on, other
such text with errors of OCR in 3% of the characters, text in other languages, tables, and boilerplate. Each method
gives every document one figure and drops those with the worst. Then, with 95% bootstrap intervals over documents:

    break_even  share of clean documents among as many as there are clean ones (precision and recall are equal there)
    precision   share of clean documents among the best, when 90% of all clean ones are kept
    kept        share of each kind that is kept there
    s_per_mb    seconds of one core for 10^6 bytes, without loading and training

`cpu1` is bits per byte. The other methods are those of bench/judge.py, which has more about them.
"""

import argparse
import json
import os
import random
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import judge as judging
import numpy as np
from numpy.typing import NDArray
from streams import processor

from cpu1.cli.options import byte_size, named, positive
from cpu1.errors import UserError
from cpu1.judging.scoring import bits_of_each
from cpu1.runtime.archive import fingerprint_of
from cpu1.runtime.default import default_model
from cpu1.runtime.model import Model

CLEAN = "clean"
SHARES = {CLEAN: 60, "OCR errors, 3%": 10, "other languages": 10, "tables": 10, "boilerplate": 10}  # per cent
OCR = 0.03
RECALL = 0.9
DRAWS = 1000
UNITS = ("mm", "kg", "%", "USD", "s", "")

Figures = NDArray[np.float64]  # of each document: the higher, the worse


def table(size: int, words: Sequence[str], chance: random.Random) -> str:
    """Rows of names and numbers, as they are left of a page's tables."""
    separator, columns = chance.choice([" | ", "\t", "  "]), chance.randint(3, 7)
    lines = [separator.join(chance.sample(words, columns))]
    while sum(map(len, lines)) < size:
        unit = chance.choice(UNITS)
        numbers = (
            f"{chance.lognormvariate(3, 2):,.{chance.randint(0, 2)}f} {unit}".strip() for _ in range(columns - 1)
        )
        lines.append(separator.join([f"{chance.choice(words)} {chance.choice(words)}", *numbers]))
    return "\n".join(lines)


def mixed(args: argparse.Namespace) -> list[tuple[str, str]]:
    """(kind, text) of each document, in a random order. UserError where a source has too little."""
    chance = random.Random(args.seed)
    counts = {kind: args.documents * share // 100 for kind, share in SHARES.items()}
    noisy = next(kind for kind in counts if kind.startswith("OCR"))
    good = judging.passages(args.clean, None, counts[CLEAN] + counts[noisy], chance, args.length)
    chance.shuffle(good)
    words = [word for word in " ".join(good[:50]).split() if word.isalpha() and len(word) > 3]
    sources = [source for _, source in args.foreign]
    found = [(CLEAN, text) for text in good[: counts[CLEAN]]]
    found += [(noisy, judging.noisy(text, OCR, chance)) for text in good[counts[CLEAN] :]]
    foreign = judging.passages(sources, None, counts["other languages"], chance, args.length)
    found += [("other languages", text) for text in foreign]
    found += [("tables", table(args.length, words, chance)) for _ in range(counts["tables"])]
    found += [("boilerplate", judging.boilerplate(args.length, chance)) for _ in range(counts["boilerplate"])]
    chance.shuffle(found)
    return [(kind, judging.beginning(text, args.length)) for kind, text in found]


def at_break_even(clean: NDArray[np.bool_], figures: Figures) -> float:
    """The share of clean documents among as many of the best as there are clean ones."""
    best = np.argsort(figures, kind="stable")[: clean.sum()]
    return float(clean[best].mean())


def kept_at(clean: NDArray[np.bool_], figures: Figures, recall: float) -> NDArray[np.bool_]:
    """The documents kept where this share of the clean ones is."""
    return figures <= np.quantile(figures[clean], recall, method="higher")


def precision_at(clean: NDArray[np.bool_], figures: Figures) -> float:
    """The share of clean documents among those kept where RECALL of them are."""
    return float(clean[kept_at(clean, figures, RECALL)].mean())


def interval(
    measure: Callable[[NDArray[np.bool_], Figures], float], clean: NDArray[np.bool_], figures: Figures, seed: int
) -> list[float]:
    """The measure with its bootstrap interval over documents."""
    chance = np.random.default_rng(seed)
    picks = (chance.integers(0, len(clean), len(clean)) for _ in range(DRAWS))
    draws = [measure(clean[pick], figures[pick]) for pick in picks]
    return [round(float(value), 4) for value in (measure(clean, figures), *np.quantile(draws, [0.025, 0.975]))]


def row(
    kinds: Sequence[str], figures: Figures, seconds: float, size: int, data_bytes: int, seed: int
) -> dict[str, Any]:
    """What a method reaches."""
    names = np.array(kinds)
    clean = names == CLEAN
    kept = kept_at(clean, figures, RECALL)
    return {
        "break_even": interval(at_break_even, clean, figures, seed),
        "precision": interval(precision_at, clean, figures, seed),
        "kept": {kind: round(float(kept[names == kind].mean()), 4) for kind in SHARES},
        "s_per_mb": round(seconds / size * 1e6, 3),
        "data_bytes": data_bytes,
    }


def methods(args: argparse.Namespace, texts: Sequence[str]) -> Iterator[tuple[str, Figures, float, int]]:
    """Name, figures, seconds and bytes of data of each method."""
    model = Model(args.model or default_model())
    begun = time.process_time()
    bits = np.array([each.mean() for _, each in bits_of_each(model, (text.encode() for text in texts))])
    yield "cpu1", bits, time.process_time() - begun, model.path.stat().st_size
    with tempfile.TemporaryDirectory(dir=args.work) as folder:
        for name, scorer, data_bytes in judging.others(args, Path(folder)):
            begun = time.process_time()
            figures = np.array([scorer(text) for text in texts])
            yield name, figures, time.process_time() - begun, data_bytes


def measure(args: argparse.Namespace) -> dict[str, Any]:
    documents = mixed(args)
    kinds, texts = zip(*documents, strict=True)
    size = sum(len(text.encode()) for text in texts)
    found = {}
    for name, figures, seconds, data_bytes in methods(args, texts):
        found[name] = row(kinds, figures, seconds, size, data_bytes, args.seed)
        print(f"{name}: {found[name]['precision'][0]:.3f}", file=sys.stderr, flush=True)
    return {
        "model": fingerprint_of(args.model or default_model()).hex(),
        "processor": processor(),
        "load": [round(load, 1) for load in os.getloadavg()],
        "documents": len(texts),
        "length": args.length,
        "shares": SHARES,
        "recall": RECALL,
        "train_bytes": args.train_bytes,
        "methods": found,
    }


def show(found: dict[str, Any]) -> str:
    lines = []
    for name, each in found["methods"].items():
        kept = ", ".join(f"{kind} {share:.0%}" for kind, share in each["kept"].items())
        lines.append(
            f"{name}: break even {each['break_even']}, precision {each['precision']}, {each['s_per_mb']} s/MB; {kept}"
        )
    return "\n".join(lines)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--clean", nargs="+", required=True, help="texts that the model was not trained on")
    parser.add_argument("--foreign", nargs="+", type=named, required=True, metavar="LANGUAGE=SOURCE")
    parser.add_argument("--train", nargs="*", help="texts like those that the model was trained on, for KenLM")
    parser.add_argument("--train-bytes", type=byte_size, default=judging.TRAIN_BYTES, help="of them (default: 60M)")
    parser.add_argument("--lmplz", help="KenLM's program that trains")
    parser.add_argument("--model", type=Path, help="a packed file (default: the default model)")
    parser.add_argument("--documents", type=positive, default=600, help="in the corpus (default: 600)")
    parser.add_argument("--length", type=positive, default=1000, help="bytes of a document (default: 1000)")
    parser.add_argument("--work", type=Path, help="folder for KenLM's temporary files")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", action="store_true")
    args = parser.parse_args()
    try:
        found = measure(args)
    except UserError as error:
        print(f"bench/filter_corpus.py: {error}", file=sys.stderr)
        return 2
    print(json.dumps(found, indent=1) if args.json else show(found))
    return 0


if __name__ == "__main__":
    sys.exit(main())
