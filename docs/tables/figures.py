"""The figures of docs/figures/."""

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from cpu1.report.render.plots import COLOURS, DIM, Drawing, drawings, standalone, svg
from tables.results import ROOT, benches, load

if TYPE_CHECKING:
    from matplotlib.axes import Axes

FIGURES = ROOT / "docs" / "figures"
DRAWN = ("nano-r1", "nano-r2", "small-r1")
ENGINES = {  # contestants of bench/peers.py in a stranger's words
    "run_04, ternary": "CPU-1, ternary",
    "llama.cpp, TQ2_0": "llama.cpp, ternary",
    "llama.cpp, Q4_K, half the layers": "llama.cpp, 4 bits, half the layers",
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
    """The README's chart: steps a second of engines, in one process on each processor, with the size of each file."""
    bars = [
        (found["processor"], name) for found in benches("peers") for name in ENGINES if name in found["contestants"]
    ]
    size = (7.6, 0.8 + 0.4 * len(bars) + 0.3 * len(benches("peers")))
    return FIGURES / "engines.svg", standalone(Drawing("", "", svg(_draw_engines, "engines", size)))


def _draw_engines(axes: "Axes") -> None:
    row, places, labels = 0.0, [], []
    for found in benches("peers"):
        axes.annotate(found["processor"], (0, row - 0.55), color=DIM, va="center", annotation_clip=False)
        for contestant in (name for name in ENGINES if name in found["contestants"]):
            rates, name = found["contestants"][contestant], ENGINES[contestant]
            colour = COLOURS["ternary"] if name.startswith("CPU-1") else COLOURS["full precision"]
            for offset, what, alpha in ((-0.2, "generate", 1.0), (0.2, "prompt", 0.45)):
                axes.barh(row + offset, rates[what], height=0.36, color=colour, alpha=alpha, linewidth=0)
                label = f"{rates[what]:,.0f} {'generated' if what == 'generate' else 'read of a prompt'}"
                axes.annotate(label, (rates[what], row + offset), (4, 0), textcoords="offset points", va="center")
            places.append(row)
            labels.append(f"{name}\n{rates['file_bytes'] / 1e6:.0f} MB")
            row += 1
        row += 0.7
    axes.set_yticks(places, labels)
    axes.invert_yaxis()
    axes.tick_params(length=0)
    axes.margins(x=0.3)
    axes.set_xlabel("steps a second, one thread: patches of four bytes, or tokens of llama.cpp", color=DIM)
    axes.spines["left"].set_visible(False)
