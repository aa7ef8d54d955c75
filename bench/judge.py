"""How well damaged text is told from clean text: `python bench/judge.py --clean FILE... [options] [--json]`.

    python bench/judge.py --clean books.txt.zst reference.txt.zst tech.txt.zst --foreign Spanish=spanish.txt.zst \\
        --train books-train.txt.zst ... --lmplz kenlm/build/bin/lmplz

Passages of clean text that the model was not trained on, against the same passages with errors of OCR, with their words
shuffled, and against passages of another language, of random letters, of boilerplate and of Python. Beginnings of a
passage serve for the shorter lengths. The figure is the area under the ROC curve: how often the bad text of a random
pair has the worse figure (0.5: chance), with a 95% bootstrap interval over passages. `found` is how often the damaged
one of two readings of a passage has the worse figure.

Beside it: the mean log probability a token of KenLM models, 5-grams of words and 6-grams of characters (PyPI's kenlm;
its source has lmplz, which trains them on --train), the ratio of zstd -19, and the share of words that are not in a
word list (Debian's wamerican). Speeds are MB of 10^6 bytes a second of CPU time, one thread, over clean texts.
`side_by_side`: texts of the shortest length judged by two jobs, by one, and by a session that reads one text in steps
of four bytes; how many times as fast by the clock, medians over rounds in which each has its turn. Its
`work_of_two_over_one` is of the processor's time: 1 where the second job costs nothing but a second core.

With `--calibrate FILE` it writes the model's calibration instead, from every other document of --clean: those that the
benchmark leaves out.
"""

import argparse
import json
import os
import random
import re
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import zstandard
from numpy.typing import NDArray

from cpu1.cli.options import byte_size, named, positive
from cpu1.data.sources import documents
from cpu1.errors import UserError
from cpu1.judging.calibration import calibrate
from cpu1.judging.judge import Judge
from cpu1.judging.scoring import bits_of_each
from cpu1.runtime.default import default_model
from cpu1.runtime.model import Model
from cpu1.runtime.processor import processor

LENGTHS = (200, 1000, 4000)  # bytes
NOISE = (1, 2, 5, 10)  # per cent of characters
DRAWS = 1000
PAIRS = 7
TRAIN_BYTES = 60_000_000
WORDS = Path("/usr/share/dict/american-english")
LETTERS = "eeeeeeeeeeeetttttttttaaaaaaaaooooooooiiiiiiinnnnnnnsssssshhhhhhrrrrrrddddllllcccuuummmwwwffggyyppbbvkjxqz"
CONFUSED = {
    "e": "co", "c": "eo", "o": "0ec", "a": "ou", "l": "1I|", "i": "l1j", "I": "l1", "h": "bn", "b": "h6", "n": "ru",
    "u": "nv", "r": "n", "s": "5", "S": "5", "t": "f", "f": "t", "g": "q9", "q": "g", "v": "y", "y": "v", "B": "8",
    "O": "0Q", ",": ".", ".": ",", "m": ["rn", "nn"], "w": ["vv"], "d": ["cl"], "-": "~", "'": "`", " ": [""],
}  # fmt: skip
BOILERPLATE = """All rights reserved. No part of this site may be reproduced without permission.
We use cookies to improve your experience. By continuing to browse you accept our cookie policy.
Click here to read more. Sign up for our newsletter. Share this page on Facebook.
Terms of use. Privacy policy. Contact us. About us. Careers. Site map. Help.
Please enable JavaScript in your browser to view this page correctly.
You must be logged in to post a comment. Log in or register to continue.
Home > Products > Details > Reviews. Add to cart. Continue shopping. Proceed to checkout.
Copyright 2019 The Company, Inc. Registered in England and Wales under number 01234567.
The information on this website is provided as is, without warranty of any kind.
Subscribe now and get 20% off your first order. Free delivery on orders over 50 pounds.
Previous post. Next post. Related articles. Leave a reply. Your email address will not be published.
Back to top. Print this page. Download as PDF. Report a problem with this page.""".splitlines()

Scores = dict[str, list[NDArray[np.float64]]]  # by kind of text: for each length, a figure of each passage
Scorer = Callable[[str], float]  # the higher, the worse the text


def noisy(text: str, share: float, chance: random.Random) -> str:
    """OCR's errors in a share of the characters: likely confusions; else another letter, none, or a blank too many."""
    out = []
    for char in text:
        if chance.random() >= share or char == "\n":
            out.append(char)
        elif char in CONFUSED and chance.random() < 0.7:
            out.append(chance.choice(CONFUSED[char]))
        else:
            out.append(chance.choice([chance.choice(LETTERS), "", char + " "]))
    return "".join(out)


def shuffled(text: str, chance: random.Random) -> str:
    """The words of each sentence in another order."""
    sentences = re.split(r"(?<=[.!?])\s+", text)
    return " ".join(" ".join(chance.sample(words := sentence.split(), len(words))) for sentence in sentences)


def gibberish(size: int, chance: random.Random) -> str:
    """Words of random letters, as frequent as in English."""
    words = ("".join(chance.choices(LETTERS, k=chance.randint(2, 9))) for _ in range(size // 3))
    return " ".join(words)


def boilerplate(size: int, chance: random.Random) -> str:
    lines: list[str] = []
    while sum(map(len, lines)) < size:
        lines += chance.sample(BOILERPLATE, 6)
    return "\n".join(lines)


def passages(
    sources: Sequence[str], half: int | None, count: int, chance: random.Random, size: int | None = None
) -> list[str]:
    """`count` passages that begin at the beginning of a line, from all sources alike; `half`: of every other document.

    They have a little more than `size` bytes, or than the longest of LENGTHS.

    UserError where there are too few.
    """
    size = size or LENGTHS[-1]
    found: list[str] = []
    for number, source in enumerate(sources):
        wanted = count * (number + 1) // len(sources) - len(found)
        starts = [
            (document, start)
            for place, document in enumerate(documents(source))
            if half is None or place % 2 == half
            for start in range(0, len(document) - size, size)
        ]
        if len(starts) < wanted:
            raise UserError(f"{source}: gives {len(starts)} passages, and {wanted} are wanted; use fewer (--passages)")
        for document, start in chance.sample(starts, wanted):
            begin = document.find(b"\n", start) + 1 if start else 0
            if not start <= begin <= min(start + size // 4, len(document) - size):
                begin = start
            found.append(document[begin : begin + size + 64].decode(errors="ignore"))
    return found


def texts(args: argparse.Namespace) -> dict[str, list[str]]:
    """Passages by their kind; those of a damaged kind are the clean ones, in the same order."""
    chance = random.Random(args.seed)
    clean = passages(args.clean, 1, args.passages, chance)
    size = LENGTHS[-1] + 64
    found = {"clean": clean}
    for share in NOISE:
        found[f"OCR errors, {share}%"] = [noisy(text, share / 100, chance) for text in clean]
    found["words shuffled"] = [shuffled(text, chance) for text in clean]
    for language, source in args.foreign or ():
        found[language] = passages([source], None, args.passages, chance)
    found["random letters"] = [gibberish(size, chance) for _ in clean]
    found["boilerplate"] = [boilerplate(size, chance) for _ in clean]
    found["Python code"] = passages(["python-stdlib"], None, args.passages, chance)
    return found


def beginning(text: str, length: int) -> str:
    """The first `length` bytes, without half a character."""
    return text.encode()[:length].decode(errors="ignore")


# ------------------------------------------------------------------------------------------- the others


def words(text: str) -> list[str]:
    return re.findall(r"[^\W\d_]+(?:['’][^\W\d_]+)?|\d+|[^\w\s]", text.lower())


def characters(text: str) -> list[str]:
    return ["_" if char.isspace() else char for char in re.sub(r"\s+", " ", text)]


def kenlm(name: str, split: Callable[[str], list[str]], order: int, args: argparse.Namespace, folder: Path) -> Scorer:
    """Trains a model with lmplz; a text's figure is its mean negative log probability a token."""
    plain, arpa = folder / f"{name}.txt", folder / f"{name}.arpa"
    left = args.train_bytes // len(args.train)
    with plain.open("w", encoding="utf-8") as file:
        for source in args.train:
            taken = 0
            for document in documents(source):
                for paragraph in document.decode(errors="ignore").split("\n\n"):
                    file.write(" ".join(split(paragraph)) + "\n")
                    taken += len(paragraph)
                if taken > left:
                    break
    prune = [] if name == "characters" else ["--prune", "0", "0", "1"]
    command = [args.lmplz, "-o", str(order), "-S", "2G", "-T", str(folder), "--text", str(plain), "--arpa", str(arpa)]
    subprocess.run([*command, *prune, "--discount_fallback"], check=True, stderr=subprocess.DEVNULL)
    plain.unlink()
    binary = folder / f"{name}.bin"
    build = Path(args.lmplz).with_name("build_binary")
    subprocess.run([str(build), "probing", str(arpa), str(binary)], check=True, stderr=subprocess.DEVNULL)
    arpa.unlink()
    model = import_module("kenlm").Model(str(binary))

    def score(text: str) -> float:
        tokens = split(text)
        return -float(model.score(" ".join(tokens))) / (len(tokens) + 1)

    return score


def zstd(text: str) -> float:
    data = text.encode()
    return len(zstandard.ZstdCompressor(level=19).compress(data)) / len(data)


def word_list() -> Scorer:
    known = {word.strip().lower() for word in WORDS.read_text(encoding="utf-8").splitlines()}

    def unknown(text: str) -> float:
        found = re.findall(r"[^\W_]+(?:['’][^\W\d_]+)?", text.lower())
        return sum(word not in known and word.replace("’", "'") not in known for word in found) / max(1, len(found))

    return unknown


def others(args: argparse.Namespace, folder: Path) -> Iterator[tuple[str, Scorer, int]]:
    """The scorers that this machine has, and the bytes of their data."""
    if args.lmplz and args.train and find_spec("kenlm"):
        for name, split, order in (("words", words, 5), ("characters", characters, 6)):
            scorer = kenlm(name, split, order, args, folder)
            yield f"KenLM, {order}-grams of {name}", scorer, (folder / f"{name}.bin").stat().st_size
            print(f"KenLM, {name}: trained", file=sys.stderr, flush=True)
    yield "zstd -19", zstd, 0
    if WORDS.is_file():
        yield "word list", word_list(), WORDS.stat().st_size


# ------------------------------------------------------------------------------------------- figures


def auc(good: NDArray[np.float64], bad: NDArray[np.float64]) -> float:
    """How often a bad text has the higher figure; ties count half."""
    ordered = np.sort(good)
    below, upto = np.searchsorted(ordered, bad, "left"), np.searchsorted(ordered, bad, "right")
    return float((below + upto).mean() / 2 / len(good))


def auc_interval(good: NDArray[np.float64], bad: NDArray[np.float64], paired: bool, seed: int) -> list[float]:
    """The area with its interval; `paired`: row i of both is of the same passage, so they are drawn together."""
    chance = np.random.default_rng(seed)
    draws = []
    for _ in range(DRAWS):
        picks = chance.integers(0, len(good), len(good))
        others = picks if paired else chance.integers(0, len(bad), len(bad))
        draws.append(auc(good[picks], bad[others]))
    return [round(float(value), 4) for value in (auc(good, bad), *np.quantile(draws, [0.025, 0.975]))]


def found_share(good: NDArray[np.float64], bad: NDArray[np.float64]) -> float:
    """How often the bad one of a pair has the higher figure; ties count half."""
    return round(float(((bad > good) + 0.5 * (bad == good)).mean()), 4)


def table(scores: Scores, seed: int) -> dict[str, Any]:
    """For each kind and length: the area under the curve, and of damaged copies the share found."""
    rows: dict[str, Any] = {}
    for kind, figures in scores.items():
        if kind == "clean":
            continue
        paired = kind.startswith(("OCR", "words"))
        rows[kind] = {}
        for place, length in enumerate(LENGTHS):
            clean, bad = scores["clean"][place], figures[place]
            rows[kind][str(length)] = {"auc": auc_interval(clean, bad, paired, seed)}
            if paired:
                rows[kind][str(length)]["found"] = found_share(clean, bad)
    return rows


def scored(scorer: Scorer, kinds: dict[str, list[str]]) -> tuple[Scores, dict[str, float]]:
    """Figures, and MB a second of clean text."""
    speeds: dict[str, float] = {}
    scores: Scores = {}
    for kind, group in kinds.items():
        scores[kind] = []
        for length in LENGTHS:
            short = [beginning(text, length) for text in group]
            begun = time.process_time()
            scores[kind].append(np.array([scorer(text) for text in short]))
            if kind == "clean":
                speeds[str(length)] = sum(map(len, short)) / 1e6 / max(time.process_time() - begun, 1e-9)
    return scores, speeds


def ours(model: Model, kinds: dict[str, list[str]], jobs: int) -> tuple[Scores, dict[str, float]]:
    """The same for the model: a passage is read once, and its beginnings are what was read of it."""
    scores: Scores = {}
    for kind, group in kinds.items():
        longest = (beginning(text, LENGTHS[-1]).encode() for text in group)
        bits = [each for _, each in bits_of_each(model, longest, jobs)]
        scores[kind] = [np.array([each[:length].mean() for each in bits]) for length in LENGTHS]
        print(f"{kind}: {scores[kind][-1].mean():.3f} bits per byte", file=sys.stderr, flush=True)
    speeds = {}
    for length in LENGTHS:
        short = [beginning(text, length).encode() for text in kinds["clean"]][: max(4, 80_000 // length)]
        begun = time.process_time()
        list(bits_of_each(model, short))
        speeds[str(length)] = sum(map(len, short)) / 1e6 / (time.process_time() - begun)
    return scores, speeds


def verdicts(judge: Judge, kinds: dict[str, list[str]], scores: Scores) -> dict[str, Any]:
    """The share of passages of each kind beyond the percentiles, where the model has a calibration."""
    if judge.calibration is None:
        return {}
    rows: dict[str, Any] = {}
    for kind in kinds:
        rows[kind] = {}
        for place, length in enumerate(LENGTHS):
            values = scores[kind][place].tolist()
            ranks = np.array([judge.calibration.percentile(value, length) for value in values], np.float64)
            rows[kind][str(length)] = {
                "above_95": round(float((ranks >= 95).mean()), 4),
                "above_99": round(float((ranks >= 99).mean()), 4),
                "below_1": round(float((ranks < 1).mean()), 4),
            }
    return rows


def side_by_side(model: Model, clean: Sequence[str]) -> dict[str, Any]:
    """How many times as fast two jobs are as one on the shortest texts, and both as single steps of one text."""
    short = [beginning(text, LENGTHS[0]).encode() for text in clean[:60]]

    def jobs(count: int) -> Callable[[], object]:
        return lambda: list(bits_of_each(model, short, count))

    def step_by_step() -> None:
        for text in short[:10]:
            session = model.session()
            for start in range(0, len(text), 4):
                session.score(text[start : start + 4])

    def seconds(work: Callable[[], object]) -> tuple[float, float]:
        """Of the clock, and of all cores."""
        begun, worked = time.perf_counter(), time.process_time()
        work()
        return time.perf_counter() - begun, time.process_time() - worked

    rounds = []
    for _ in range(PAIRS):
        (one, one_cpu), (two, two_cpu) = seconds(jobs(1)), seconds(jobs(2))
        steps = seconds(step_by_step)[0] / 10 * len(short)
        rounds.append((one / two, two_cpu / one_cpu, steps / one, steps / two))
    names = "two_jobs_over_one", "work_of_two_over_one", "one_over_single_steps", "two_jobs_over_single_steps"
    medians = (round(statistics.median(ratios), 2) for ratios in zip(*rounds, strict=True))
    return dict(zip(names, medians, strict=True)) | {"load": [round(load, 1) for load in os.getloadavg()]}


def measure(args: argparse.Namespace) -> dict[str, Any]:
    kinds = texts(args)
    judge = Judge(args.model)
    methods: dict[str, Any] = {}
    scores, speeds = ours(judge.model, kinds, args.jobs)
    size = judge.model.path.stat().st_size
    methods["cpu1"] = {"kinds": table(scores, args.seed), "mb_per_s": speeds, "data_bytes": size}
    result = {
        "model": judge.calibration.model if judge.calibration else None,
        "processor": processor(),
        "load": [round(load, 1) for load in os.getloadavg()],
        "clean": [Path(source).name for source in args.clean],
        "passages": args.passages,
        "lengths": LENGTHS,
        "train_bytes": args.train_bytes,
        "methods": methods,
        "verdicts": verdicts(judge, kinds, scores),
        "side_by_side": side_by_side(judge.model, kinds["clean"]),
    }
    with tempfile.TemporaryDirectory(dir=args.work) as folder:
        for name, scorer, data_bytes in others(args, Path(folder)):
            scores, speeds = scored(scorer, kinds)
            methods[name] = {"kinds": table(scores, args.seed), "mb_per_s": speeds, "data_bytes": data_bytes}
    return result


def show(result: dict[str, Any]) -> str:
    lines = []
    for name, method in result["methods"].items():
        speeds = ", ".join(f"{speed:.3f}" for speed in method["mb_per_s"].values())
        lines.append(f"{name}: {speeds} MB/s at {', '.join(method['mb_per_s'])} bytes")
        for kind, row in method["kinds"].items():
            cells = (
                f"{each['auc'][0]:.3f} [{each['auc'][1]:.3f}, {each['auc'][2]:.3f}]"
                + (f" {each['found']:6.1%}" if "found" in each else "")
                for each in row.values()
            )
            lines.append(f"  {kind:18}{'   '.join(cells)}")
    return "\n".join([*lines, json.dumps(result["side_by_side"])])


def calibrated(args: argparse.Namespace) -> str:
    """Writes the calibration from the documents that the benchmark leaves out, of all sources alike."""
    model = Model(args.model or default_model())
    chance = random.Random(args.seed)
    each = max(1, 400 // len(args.clean))
    clean: list[bytes] = []
    for source in args.clean:
        halves = [document for place, document in enumerate(documents(source)) if place % 2 == 0]
        starts = [(document, start) for document in halves for start in range(0, max(1, len(document) - 7000), 6400)]
        for document, start in chance.sample(starts, min(each, len(starts))):
            begin = document.find(b"\n", start) + 1 if start else 0
            clean.append(document[begin : begin + 6400])
    found = calibrate(model, clean, args.jobs)
    found.write(args.calibrate)
    return f"{args.calibrate}: {found.texts} texts"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--clean", nargs="+", required=True, help="texts that the model was not trained on")
    parser.add_argument(
        "--foreign", nargs="*", type=named, metavar="LANGUAGE=SOURCE", help="texts in other languages, by their names"
    )
    parser.add_argument("--train", nargs="*", help="texts like those that the model was trained on, for KenLM")
    parser.add_argument("--train-bytes", type=byte_size, default=TRAIN_BYTES, help="of them in all (default: 60M)")
    parser.add_argument("--lmplz", help="KenLM's program that trains")
    parser.add_argument("--model", type=Path, help="a packed file (default: the default model)")
    parser.add_argument("--passages", type=positive, default=200, help="of each kind (default: 200)")
    parser.add_argument("--jobs", type=positive, default=2, help="passages read at once (default: 2)")
    parser.add_argument("--work", type=Path, help="folder for KenLM's temporary files")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--calibrate", type=Path, help="write the model's calibration to this file instead")
    parser.add_argument("--json", action="store_true")
    args = parser.parse_args()
    try:
        if args.calibrate:
            print(calibrated(args))
            return 0
        result = measure(args)
    except UserError as error:
        print(f"bench/judge.py: {error}", file=sys.stderr)
        return 2
    print(json.dumps(result, indent=1) if args.json else show(result))
    return 0


if __name__ == "__main__":
    sys.exit(main())
