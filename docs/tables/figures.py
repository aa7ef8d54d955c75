"""The figures of docs/figures/."""

from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cpu1.report.render.plots import COLOURS, DIM, Drawing, drawings, logarithmic, name_points, standalone, svg
from tables.results import ROOT, bench, benches, load

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
COSTS = {  # a figure of `table_sizes`: what a row calls it, its unit, the axis
    "file-size": ("file_bytes", 1e6, "file of weights, MB"),
    "generation-speed": ("bytes_per_s", 1e3, "KB generated a second, one thread"),
}

FORMS = {"ternary": COLOURS["ternary"], "int8": COLOURS["full precision"], "int4": COLOURS["small"], "bf16": DIM}


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


def table_sizes() -> Iterator[tuple[Path, str]]:
    """Bits per byte against what they cost, for run 18 with tables of several sizes, and run 19."""
    return _for_each_cost("lookups", _draw_costs, (6.4, 4.4))


def _for_each_cost(stem: str, draw: Callable[..., None], size: tuple[float, float]) -> Iterator[tuple[Path, str]]:
    """A figure for each of COSTS: `draw` gets the axes and key, unit and label."""
    for cost, (key, unit, label) in COSTS.items():
        name = f"{stem}-{cost}"
        drawing = Drawing("", "", svg(partial(draw, key=key, unit=unit, label=label), name, size))
        yield FIGURES / f"{name}.svg", standalone(drawing)


def _draw_costs(axes: "Axes", key: str, unit: float, label: str) -> None:
    rows = [row for row in bench("equal-file")["rows"] if row["run"] in ("18", "19")]  # the others are far above
    points = [(row[key] / unit, row["document_bpb"]) for row in rows]
    colours = [COLOURS["ternary" if row["changes"] else "full precision"] for row in rows]
    logarithmic(axes, min(x for x, _ in points) / 1.2, max(x for x, _ in points) * 1.2)
    for (x, y), colour in zip(points, colours, strict=True):
        axes.plot([x], [y], "o", color=colour, markersize=4.5, zorder=4)
    name_points(axes, (label, "bits per byte, documents"), points, [_in_short(row) for row in rows], colours)


def twins() -> Iterator[tuple[Path, str]]:
    """Bits per byte of ternary runs and of full-precision ones in three forms, against what they cost."""
    return _for_each_cost("twins", _draw_twins, (6.4, 4.9))


def _draw_twins(axes: "Axes", key: str, unit: float, label: str) -> None:
    rows = sorted((row for row in bench("twins")["rows"] if row[key]), key=lambda row: float(row[key]))
    points = [(row[key] / unit, row["document_bpb"]) for row in rows]
    logarithmic(axes, points[0][0] / 1.3, points[-1][0] * 1.3)
    for run, weights in dict.fromkeys((row["run"], row["weights"]) for row in rows):
        ours = [(row["run"], row["weights"]) == (run, weights) for row in rows]
        line = [point for point, own in zip(points, ours, strict=True) if own]
        style = "o-" if run == "18" else "s--"
        axes.plot(*zip(*line, strict=True), style, color=FORMS[weights], markersize=4, lw=0.9, zorder=4)
    names = [f"{row['weights']}, {row['width']}" for row in rows]
    name_points(axes, (label, "bits per byte, documents"), points, names, [FORMS[row["weights"]] for row in rows])


def _in_short(row: dict[str, Any]) -> str:
    """A run and what was changed of it, short enough for a label."""
    words = {"tables.width": "{} values", "tables.bits": "{} bits", "tables.rows": "{} rows"}
    told = [
        f"{len(value)} contexts" if name == "tables.contexts" else words[name].format(value)
        for name, value in row["changes"].items()
    ]
    return ", ".join([row["run"], *told])
