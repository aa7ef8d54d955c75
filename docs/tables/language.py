"""Tables of language: grammar by phenomenon, last words and real words, as `cpu1 check --out` measured them."""

from typing import Any

from cpu1.evaluation.statistics import Interval
from tables.results import bench, load, studies
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


@table("lm-eval")
def lm_eval() -> Table:
    """What `cpu1 check` and lm-evaluation-harness counted, by `bench/harness.py`."""
    found = bench("harness")
    pairs, words, text = (found[key] for key in ("blimp", "lambada", "text"))
    ways = ("check", "lm_eval")
    sets = [pairs[way]["sets"] for way in ways]
    equal = sum(sets[0][uid] == sets[1][uid] for uid in sets[0])
    lines = [
        [f"BLiMP, right of {sum(of for _, of in sets[0].values()):,} pairs",
         *(f"{sum(right for right, _ in each.values()):,}" for each in sets)],
        [f"sets of BLiMP with equal counts, of {len(sets[0])}", "", str(equal)],
        *([f"LAMBADA, {name}, of {words['check']['passages']:,}", *(f"{words[way][key]:,}" for way in ways)]
          for name, key in (("last words written", "right"), ("or begun", "begun"))),
        ["LAMBADA, perplexity of the last word", *(f"{words[way]['perplexity']:.3f}" for way in ways)],
        ["WikiText-2, bits per byte", *(f"{text[way]['bits_per_byte']:.6f}" for way in ways)],
        ["processor time, s: BLiMP / LAMBADA / WikiText-2",
         *(" / ".join(f"{part[way]['cpu_s']:.0f}" for part in (pairs, words, text)) for way in ways)],
    ]  # fmt: skip
    return Table([f"the model `{found['model']}`", "`cpu1 check`", f"lm_eval {found['lm_eval']}"], "lrr", lines)
