"""The figures of docs/figures/."""

from collections.abc import Iterator
from pathlib import Path

from cpu1.report.render.plots import drawings, standalone
from tables.results import ROOT, load

DRAWN = ("nano-r1", "nano-r2", "small-r1")


def figures(study: str) -> Iterator[tuple[Path, str]]:
    """The files of a study's figures, and what is in them."""
    card = load(study).card
    for section in card.sections:
        for drawing in drawings(section, card.baselines):
            name = drawing.title.lower().replace(" ", "-")
            yield ROOT / "docs" / "figures" / f"{study}-{name}.svg", standalone(drawing)
