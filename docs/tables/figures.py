"""The figures of docs/figures/."""

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from cpu1.report.render.plots import COLOURS, DIM, Drawing, drawings, standalone, svg
from tables.results import ROOT, bench, load

if TYPE_CHECKING:
    from matplotlib.axes import Axes

FIGURES = ROOT / "docs" / "figures"
DRAWN = ("nano-r1", "nano-r2", "small-r1")
ENGINES = {  # contestants of bench/peers.py, best first, in a stranger's words
    "run_07, gate deletes 30%": "CPU-1, ternary, skips 30% of patches",
    "run_04, ternary": "CPU-1, ternary",
    "llama.cpp, TQ2_0": "llama.cpp, ternary (TQ2_0)",
    "run_03, bf16": "CPU-1, bfloat16",
}


def figures(study: str) -> Iterator[tuple[Path, str]]:
    """The files of a study's figures, and what is in them."""
    report = load(study).report
    for section in report.sections:
        for drawing in drawings(section, report.baselines):
            name = drawing.title.lower().replace(" ", "-")
            yield FIGURES / f"{study}-{name}.svg", standalone(drawing)


def engines() -> tuple[Path, str]:
    """The README's chart: steps a second of engines in one process, with the size of each file."""
    return FIGURES / "engines.svg", standalone(Drawing("", "", svg(_draw_engines, "engines", (7.6, 3.0))))


def _draw_engines(axes: "Axes") -> None:
    measured = bench("peers")
    for row, (contestant, name) in enumerate(ENGINES.items()):
        rates = measured["contestants"][contestant]
        colour = COLOURS["ternary"] if name.startswith("CPU-1") else COLOURS["full precision"]
        for offset, what, alpha in ((-0.2, "generate", 1.0), (0.2, "prompt", 0.45)):
            axes.barh(row + offset, rates[what], height=0.36, color=colour, alpha=alpha, linewidth=0)
            label = f"{rates[what]:,.0f} {'generated' if what == 'generate' else 'read of a prompt'}"
            axes.annotate(label, (rates[what], row + offset), (4, 0), textcoords="offset points", va="center")
    sizes = [f"{measured['contestants'][key]['file_bytes'] / 1e6:.0f} MB" for key in ENGINES]
    axes.set_yticks(
        range(len(ENGINES)), [f"{name}\n{size}" for name, size in zip(ENGINES.values(), sizes, strict=True)]
    )
    axes.invert_yaxis()
    axes.tick_params(length=0)
    axes.margins(x=0.3)
    axes.set_xlabel("steps a second, one thread: patches of four bytes, or tokens of llama.cpp", color=DIM)
    axes.spines["left"].set_visible(False)
