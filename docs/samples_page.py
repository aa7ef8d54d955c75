"""The text of docs/results/samples.md, which `docs/update.py` writes from what `bench/samples.py --json` measured."""

import textwrap
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tables.results import ROOT, bench
from tables.table import Table

WIDTH = 110
NOTE = "<!-- Made by `python docs/update.py` from results/bench/samples.json. -->\n\n"
PAGE = """# Samples

What the bundled model writes, beside its predecessor, which has no lookups. Nothing is selected: each has the seed 0.
After │ the model goes on. [Lookups](../lookups.md) explains what tables and memory are.

```sh
python bench/samples.py before=old.cpu1 after=new.cpu1 --words train.txt --held-out valid.txt --after texts/* --json
```

## In numbers

Of 24 KiB that begin a document: the share of words that occur in the training text, and the share of 8-byte sequences
that had occurred before in the same kibibyte.

{counts}
A memory invites loops: at a low temperature, text that was read once may be written again and again. So a session does
not remember what it draws itself. Repetition is then no higher than without a memory.

A name costs so many bits when it first comes ("Mr. Thornbury"), and when it comes again 500 bytes later. The model
without a memory has forgotten it. The figures are means over four names.

{names}
## Ten beginnings

{beginnings}
## After two kilobytes of something else

The model has read the first 2 KB of a text that is unlike its training text, and learned from it (`learn=True`). The
temperature is 0.6. At this temperature it may repeat a line or a paragraph of what it has read.

{after}"""


def files() -> Iterator[tuple[Path, str]]:
    """The page and its text."""
    found = bench("samples")
    yield ROOT / "docs" / "results" / "samples.md", NOTE + page(found)


def page(found: dict[str, Any]) -> str:
    models = found["models"]
    counts = [[name, at, *shares(row)] for name, model in models.items() for at, row in model["written"].items()]
    counts.append(["held-out books", "", *shares(found["held_out"])])
    names = [[name, *(f"{model['name'][key]:.1f}" for key in ("first", "again"))] for name, model in models.items()]
    return PAGE.format(
        counts=Table(["model", "temperature", "known words", "repeated"], "lrrr", counts).markdown(),
        names=Table(["model", "first, bits", "again, bits"], "lrr", names).markdown(),
        beginnings="".join(beginnings(models)),
        after="\n".join(
            f"**{name}**\n\n{quoted(each['read'], each['written'])}" for name, each in found["after"].items()
        ),
    )


def shares(row: dict[str, float]) -> list[str]:
    return [f"{row['known_words']:.1%}", f"{row['repeated']:.1%}"]


def beginnings(models: dict[str, Any]) -> Iterator[str]:
    """Every beginning as every model goes on with it, at every temperature."""
    for temperature in next(iter(models.values()))["written"]:
        for beginning in next(iter(models.values()))["written"][temperature]["samples"]:
            for name, model in models.items():
                text = model["written"][temperature]["samples"][beginning]
                yield f"{name}, temperature {temperature}:\n\n{quoted(beginning, text)}\n"


def quoted(read: str, written: str) -> str:
    """A block of code, its lines cut where they are long."""
    shown = "".join(char if char == "\n" or char.isprintable() else " " for char in f"{read}│{written}")
    lines = [part for line in shown.splitlines() for part in textwrap.wrap(line, WIDTH) or [""]]
    return "".join(f"    {line}".rstrip() + "\n" for line in lines)
