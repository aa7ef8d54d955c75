"""Tables of language: grammar by phenomenon, last words and real words, as `cpu1 check --out` measured them."""

from typing import Any

from cpu1.evaluation.statistics import Interval
from tables.results import load, studies
from tables.table import Table, table

SHORT = ("02-nano-r2-s0", "04-nano-r2-s0", "07-nano-r2-s0", "07-base-r1-s0", "04-small-r2-s0", "18-small-r3-s0")


@table("language")
def language() -> Table:
    """A column for every run that was checked."""
    found = {run: row for study in studies() for run, row in load(study).language.items()}
    phenomena = dict.fromkeys(name for run in found.values() for name in run["blimp"]["phenomena"])
    lines = [
        [f"BLiMP: {name}", *(share(run["blimp"]["phenomena"][name]) for run in found.values())] for name in phenomena
    ]
    lines += [
        ["**BLiMP, all**", *(share(run["blimp"]) for run in found.values())],
        ["LAMBADA, last word written", *(share(run["lambada"]) for run in found.values())],
        ["LAMBADA, bits a word", *(f"{run['lambada']['bits_per_word']:.2f}" for run in found.values())],
        ["written words that are in the training text", *(share(run["words"]) for run in found.values())],
        ["the same of held-out text", *(f"{run['words']['heldout']['share']:.1%}" for run in found.values())],
    ]
    return Table(["", *found], "l" + "r" * len(found), lines)


def share(row: dict[str, Any]) -> str:
    low, high = row["interval"]
    return f"{Interval(row['share'] if 'share' in row else row['accuracy'], low, high, seeds=False):.1%}"


@table("language-short")
def language_short() -> Table:
    """The totals, without the phenomena of grammar."""
    full = language().columns("", *SHORT)
    return Table(full.head, full.aligned, [row for row in full.rows if not row[0].startswith("BLiMP: ")])
