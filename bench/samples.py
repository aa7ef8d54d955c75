"""What models write, to be looked at: `python bench/samples.py NAME=MODEL... --words TEXT [--after FILE...] [--json]`.

    python bench/samples.py before=old.cpu1 after=new.cpu1 --words train.txt --held-out valid.txt --after texts/* --json

For each model: a continuation of ten beginnings at two temperatures; the share of words that occur in --words, and of
8-byte sequences that occurred before in the same kibibyte, beside those of --held-out text; what a name costs when it
first comes, and again 500 bytes later. For the last model also: how it goes on after the first 2 KB of each --after
file, learning from what it reads. `docs/samples.md` is made from the output of --json.
"""

import argparse
import json
import sys
from pathlib import Path
from statistics import mean
from typing import Any

import cpu1
from cpu1.cli.options import named
from cpu1.data.formats import read_chunks
from cpu1.errors import UserError
from cpu1.evaluation.language.vocabulary import vocabulary, words
from cpu1.runtime.model import Model
from cpu1.runtime.sampling import Sampling

BEGINNINGS = (
    "Once upon a time",
    "The ship had been at sea for nine days when",
    '"You cannot mean it," said the old man, and',
    "My dear sister,\n\nSince I last wrote to you",
    "The capital of the country is",
    "In economics, the price of a good",
    "To install the package,",
    "The function returns",
    "It was the coldest winter that the town",
    "There are three reasons why",
)
TEMPERATURES = (0.6, 1.0)
WRITTEN, KIBIBYTES, READ = 300, 24, 2048  # bytes of a continuation; samples that are counted; bytes of an --after file
GRAM = 8
NAMES = ("Thornbury", "Oglethorpe", "Marchetti", "Vandermeer")
BETWEEN = (
    " had come down from the hills that morning, and nobody in the village knew what had brought so quiet a man so far."
    " The road was wet, the inn was nearly empty, and the rain went on until the evening without a break. Two farmers"
    " sat near the fire and talked of the price of wool. A girl carried in the bread and the soup, and after a while"
    " the landlord asked whether the stranger would stay for the night. There was a room under the roof, he said, with"
    " a window to the river, and it was dry."
)


def main() -> int:
    args = _parse()
    try:
        known = vocabulary(b"".join(read_chunks(path)) for path in args.words)
        found = report(dict(args.models), known, args.held_out, args.after)
    except UserError as error:
        print(f"bench/samples.py: {error}", file=sys.stderr)
        return 2
    if args.json:
        print(json.dumps(found, indent=1, ensure_ascii=False))
    else:
        show(found)
    return 0


def report(models: dict[str, str], known: frozenset[str], held_out: Path | None, after: list[Path]) -> dict[str, Any]:
    found: dict[str, Any] = {"models": {name: of_model(cpu1.load(path), known) for name, path in models.items()}}
    if held_out:
        text = b"".join(read_chunks(held_out))
        step = len(text) // KIBIBYTES
        found["held_out"] = counted([text[i * step : i * step + 1024] for i in range(KIBIBYTES)], known)
    found["after"] = {path.name: go_on(list(models.values())[-1], path) for path in after}
    return found


def of_model(model: Model, known: frozenset[str]) -> dict[str, Any]:
    written = {}
    for temperature in TEMPERATURES:
        sampling = [Sampling(temperature=temperature, seed=seed) for seed in range(KIBIBYTES)]
        kibibytes = [b"".join(model.chunks(b"", 1024, each, may_end=False)) for each in sampling]
        samples = [model.generate(each, WRITTEN, temperature=temperature, seed=0) for each in BEGINNINGS]
        written[f"{temperature}"] = counted(kibibytes, known) | {"samples": dict(zip(BEGINNINGS, samples, strict=True))}
    return {"written": written, "name": names(model)}


def counted(texts: list[bytes], known: frozenset[str]) -> dict[str, float]:
    """Of texts of a kibibyte: the share of words that are known, without the cut ones, and of repeated sequences."""
    own = [word for text in texts for word in words(b" ".join(text.split(b" ")[1:-1]))]
    return {"known_words": mean(word in known for word in own), "repeated": mean(map(repeated, texts))}


def repeated(text: bytes) -> float:
    """The share of 8-byte sequences that occurred before in the text."""
    grams = [text[i : i + GRAM] for i in range(len(text) - GRAM + 1)]
    return 1 - len(set(grams)) / len(grams)


def names(model: Model) -> dict[str, float]:
    """Bits that a name costs in all, when it comes first and 500 bytes later; means over names."""
    costs = []
    for name in NAMES:
        first, again = f"Mr. {name}".encode(), f'\n\n"I thank you," said Mr. {name}'.encode()
        text = first + BETWEEN.encode() + again
        bits = model.score(text)
        costs.append([bits[len(first) - len(name) : len(first)].sum(), bits[-len(name) :].sum()])
    one, two = (float(mean(column)) for column in zip(*costs, strict=True))
    return {"first": one, "again": two}


def go_on(model: str, path: Path) -> dict[str, str]:
    """The end of the first 2 KB of a file, and what a model that has read them writes."""
    text = b"".join(read_chunks(path))[:READ]
    learner = cpu1.load(model, learn=True)
    written = b"".join(learner.chunks(text, WRITTEN, Sampling(temperature=TEMPERATURES[0], seed=0), may_end=False))
    return {"read": text[-WRITTEN // 2 :].decode(errors="replace"), "written": written.decode(errors="replace")}


def show(found: dict[str, Any]) -> None:
    for name, model in found["models"].items():
        for temperature, at in model["written"].items():
            print(f"{name} at {temperature}: {at['known_words']:.1%} of words known, {at['repeated']:.1%} repeated")
            for beginning, text in at["samples"].items():
                print(f"\n{beginning}│{text}")
        print(f"{name}: a name costs {model['name']['first']:.1f} bits, later {model['name']['again']:.1f}\n")
    print(found.get("held_out", ""))
    for name, each in found["after"].items():
        print(f"\n== {name}\n{each['read']}│{each['written']}")


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("models", nargs="+", type=named, metavar="NAME=MODEL")
    parser.add_argument("--words", nargs="+", type=Path, required=True, metavar="TEXT", help="whose words are known")
    parser.add_argument("--held-out", type=Path, metavar="TEXT", help="real text to compare with")
    parser.add_argument("--after", nargs="*", type=Path, default=[], metavar="FILE", help="texts to go on with")
    parser.add_argument("--json", action="store_true")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
