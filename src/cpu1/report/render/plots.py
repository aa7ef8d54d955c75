"""The report's figures as SVG for a page: no script, no outside resource, the same bytes every time.

Ink, dimmed ink and rules are drawn in placeholder colours that become CSS variables, so that the page's light
and dark modes reach into the figures. A hollow mark is a token-level run.
"""

import io
import re
import textwrap
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from importlib import resources
from typing import TYPE_CHECKING, Any, Protocol, cast

import numpy as np

from cpu1.report.render.labels import around, spread
from cpu1.report.report import Baseline, Row, Section
from cpu1.report.statistics import Figures
from cpu1.runs.result import Curve

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

INK, DIM, RULE, PAPER = "#010101", "#020202", "#030303", "#040404"
VARIABLES = {INK: "var(--ink)", DIM: "var(--dim)", RULE: "var(--rule)", PAPER: "var(--paper)"}
COLOURS = {"full precision": "#3f7fd0", "ternary": "#d2751c", "small": "#2b9c70"}
SIZE = (6.4, 4.9)  # inches
LETTERS = 62  # that stand side by side in the narrowest frame that the layout leaves
FAR = 1.2  # times the median BPB: runs above it would press the others flat


class Draw(Protocol):
    """Draws finished runs into axes."""

    def __call__(self, axes: "Axes", rows: list[Row], baselines: Sequence[Baseline]) -> None: ...


@dataclass(frozen=True)
class Drawing:
    """A figure: its title, a sentence under it, and the SVG element."""

    title: str
    caption: str
    svg: str


def drawings(section: Section, baselines: Sequence[Baseline]) -> list[Drawing]:
    """The figures of one scale and round; only those that its finished runs have figures for."""
    rows = [row for row in section.rows if row.figures]
    curves = [row for row in rows if row.curve and row.curve.bytes]
    fast = [row for row in rows if row.figures and row.figures.bytes_per_s]
    placed = [row for row in rows if len(starts(row)) > 1]
    placed = [row for row in placed if starts(row) == starts(placed[0])]
    usual = FAR * float(np.median([figures_of(row).bpb for row in placed])) if placed else 0.0
    far = [row.run for row in placed if figures_of(row).bpb > usual]
    slow = [row.run for row in rows if row not in fast]
    plans: list[tuple[str, str, list[Row], Draw]] = [
        ("Bits per byte by run", "With 95% intervals; less is better. Lines: baselines.", rows, by_run),
        ("Learning curves", "Held-out text, over the bytes seen in training.", curves, learning),
        (
            "Bits per byte against generation speed",
            "Best is down and to the right." + (f" Without a speed: {', '.join(slow)}." if slow else ""),
            fast,
            against("bytes generated per second, one stream", lambda figures: figures.bytes_per_s or 1.0),
        ),
        (
            "Bits per byte against file size",
            "The packed file. Best is down and to the left.",
            rows,
            against("file of weights, MB", lambda figures: max(figures.file_bytes, 1) / 1e6),
        ),
        (
            "Bits per byte by place in the window",
            "Each run less the median of all at that place. What remembers more falls towards the right."
            + (f" Off the scale: {', '.join(far)}." if far else ""),
            [row for row in placed if row.run not in far],
            by_place,
        ),
    ]
    salt = f"{section.scale} {section.round}"
    return [
        Drawing(title, caption, svg(partial(draw, rows=shown, baselines=baselines), f"{salt} {title}"))
        for title, caption, shown, draw in plans
        if shown
    ]


def standalone(drawing: Drawing) -> str:
    """The figure as a file of its own, in light and dark as the page has them."""
    style = resources.files(__package__).joinpath("page.css").read_text(encoding="utf-8")
    colours = style[: style.index("body {")]  # `:root` is the svg element here
    return drawing.svg.replace(">", f"><style>{colours}svg {{ background: var(--paper); }}</style>", 1)


def svg(draw: Callable[["Axes"], None], salt: str, size: tuple[float, float] = SIZE) -> str:
    """Draws into a new figure of `size` (inches) and returns its <svg> element; `salt` makes its ids its own."""
    import matplotlib
    from matplotlib.figure import Figure

    style: Any = {
        "svg.fonttype": "none",  # text stays text: it can be selected, and read aloud
        "svg.hashsalt": salt,
        "font.family": "DejaVu Sans",
        "font.size": 8.5,
        "text.color": INK,
        "axes.labelcolor": DIM,
        "axes.edgecolor": RULE,
        "xtick.color": RULE,
        "ytick.color": RULE,
        "xtick.labelcolor": DIM,
        "ytick.labelcolor": DIM,
        "axes.spines.top": False,
        "axes.spines.right": False,
        "axes.axisbelow": True,
        "grid.color": RULE,
        "grid.linewidth": 0.5,
    }
    with matplotlib.rc_context(style):
        figure = Figure(figsize=size, layout="constrained")
        draw(figure.add_subplot())
        buffer = io.StringIO()
        figure.savefig(buffer, format="svg", transparent=True, metadata={"Date": None})
    text = buffer.getvalue()
    text = re.sub(r"<metadata>.*?</metadata>", "", text[text.index("<svg") :], flags=re.S)
    text = text.replace("'DejaVu Sans'", "system-ui, 'DejaVu Sans'")
    text = re.sub(r'<g id="[^"]*">', "<g>", text)  # nothing refers to them, and figures share them
    for colour, variable in VARIABLES.items():
        text = text.replace(colour, variable)
    return text


def figures_of(row: Row) -> Figures:
    """The figures of a finished row."""
    assert row.figures is not None  # `drawings` hands on finished rows only
    return row.figures


def starts(row: Row) -> tuple[int, ...]:
    """Where the positions of a row's windows start; none where it has none."""
    positions = figures_of(row).positions
    return positions.start if positions else ()


def mark(axes: "Axes", row: Row, x: float, y: float) -> None:
    """A run's point: filled, or hollow when token-level."""
    colour = COLOURS[row.family]
    fill = PAPER if row.level == "token" else colour
    axes.plot([x], [y], "o", color=colour, markerfacecolor=fill, markersize=5.5, markeredgewidth=1.4, zorder=4)


def by_run(axes: "Axes", rows: list[Row], baselines: Sequence[Baseline]) -> None:
    """BPB by run in the order of the ladder, first on top."""
    highs = []
    for place, row in enumerate(rows):
        reached = figures_of(row)
        low, high = reached.bpb_interval.low or reached.bpb, reached.bpb_interval.high or reached.bpb
        axes.plot([low, high], [place, place], color=COLOURS[row.family], lw=2, alpha=0.6, solid_capstyle="butt")
        mark(axes, row, reached.bpb, place)
        axes.annotate(f"{reached.bpb:.3f}", (1.01, place), xycoords=("axes fraction", "data"), va="center", fontsize=8)
        highs.append(max(high, reached.bpb))
    axes.set_yticks(range(len(rows)), [f"{row.run}  {shortened(row.title)}" for row in rows], color=INK)
    axes.set_ylim(len(rows) - 0.4, -0.6)
    axes.tick_params(axis="y", length=0)
    left = min([figures_of(row).bpb_interval.low or figures_of(row).bpb for row in rows])
    shown = [baseline for baseline in baselines if baseline.bpb <= 1.15 * max(highs)]
    ends = [left, *highs, *(baseline.bpb for baseline in shown)]
    margin = 0.06 * (max(ends) - min(ends)) or 0.1
    axes.set_xlim(min(ends) - margin, max(ends) + margin)
    axes.set_xlabel("bits per byte" + outlying(baselines, shown))
    axes.spines["left"].set_visible(False)
    name_lines(axes, shown)


def outlying(baselines: Sequence[Baseline], shown: Sequence[Baseline]) -> str:
    """Names the baselines that lie off the scale."""
    off = [f"{baseline.name} {baseline.bpb:.2f}" for baseline in baselines if baseline not in shown]
    lines = textwrap.wrap(f"(off the scale: {', '.join(off)})", LETTERS)
    return "\n".join(["", *lines]) if off else ""


def name_lines(axes: "Axes", baselines: Sequence[Baseline]) -> None:
    """Baselines as upright lines, each named above the frame on the lowest level where its name is free."""
    low, high = axes.get_xlim()
    width_of_letter = (high - low) / LETTERS
    ends: list[float] = []  # of the last name on each level
    for baseline in sorted(baselines, key=lambda baseline: baseline.bpb):
        text = f"{baseline.name} {baseline.bpb:.2f}"
        half = width_of_letter * len(text) / 2
        middle = min(max(baseline.bpb, low + half), high - half)
        level = next((i for i, end in enumerate(ends) if end < middle - half), len(ends))
        ends[level : level + 1] = [middle + half + width_of_letter]
        axes.axvline(baseline.bpb, color=DIM, lw=0.8, ls=(0, (4, 3)), zorder=1)
        axes.annotate(
            text,
            (middle, 1),
            (0, 3 + 11 * level),
            xycoords=("data", "axes fraction"),
            textcoords="offset points",
            ha="center",
            fontsize=7.5,
            color=DIM,
        )


def learning(axes: "Axes", rows: list[Row], baselines: Sequence[Baseline]) -> None:
    """BPB against bytes seen, each line named at its end."""
    curves = [points(row.curve) for row in rows if row.curve]
    frequency = next((baseline for baseline in baselines if "frequenc" in baseline.name), None)
    top = max([1.25 * max(float(bpb[-1]) for _, bpb in curves), *([frequency.bpb + 0.3] if frequency else [])])
    bottom = min(float(bpb.min()) for _, bpb in curves)
    axes.set_ylim(bottom - 0.04 * (top - bottom), top)
    logarithmic(axes, min(entry(seen, bpb, top) for seen, bpb in curves), max(seen[-1] for seen, _ in curves), "B")
    if frequency:
        axes.axhline(frequency.bpb, color=DIM, lw=0.8, ls=(0, (4, 3)), zorder=1)
        axes.annotate(
            f"{frequency.name} {frequency.bpb:.2f}",
            (1, frequency.bpb),
            (-2, 3),
            xycoords=("axes fraction", "data"),
            textcoords="offset points",
            ha="right",
            fontsize=7.5,
            color=DIM,
        )
    named_lines(axes, rows, curves)
    axes.set_xlabel("bytes seen in training")
    axes.set_ylabel("bits per byte")


def by_place(axes: "Axes", rows: list[Row], baselines: Sequence[Baseline]) -> None:
    """BPB by the byte's place in its window, less the median of all runs there, each line named at its end."""
    x = np.array([max(start, 1) for start in starts(rows[0])], float)
    bpb = np.array([positions.bpb for row in rows if (positions := figures_of(row).positions)])
    less = bpb - np.median(bpb, axis=0)
    margin = 0.08 * float(less.max() - less.min()) or 0.01
    axes.set_ylim(float(less.min()) - margin, float(less.max()) + margin)
    logarithmic(axes, x[0], x[-1])
    named_lines(axes, rows, [(x, line) for line in less])
    axes.set_xlabel("place in the window, bytes")
    axes.set_ylabel("bits per byte, less the median run's")


def named_lines(axes: "Axes", rows: list[Row], lines: Sequence[tuple[np.ndarray, np.ndarray]]) -> None:
    """A line for each row in its family's colour, its run's name beside its end."""
    for row, (x, y) in zip(rows, lines, strict=True):
        axes.plot(x, y, color=COLOURS[row.family], lw=1.1, alpha=0.85, ls="--" if row.level == "token" else "-")
    low, high = axes.get_ylim()
    line = (high - low) / 34
    ends = [float(y[-1]) for _, y in lines]
    places = spread(ends, line, low + line / 2, high - line / 2)
    for row, (x, _), end, place in zip(rows, lines, ends, places, strict=True):
        axes.annotate(
            row.run,
            (float(x[-1]), end),
            (1.04, place),
            xycoords="data",
            textcoords=("axes fraction", "data"),
            va="center",
            fontsize=8,
            color=COLOURS[row.family],
            arrowprops={"arrowstyle": "-", "color": COLOURS[row.family], "lw": 0.5, "relpos": (0, 0.5), "shrinkA": 1},
            annotation_clip=False,
        )
    axes.grid(True)


def entry(seen: np.ndarray, bpb: np.ndarray, top: float) -> float:
    """Where a curve comes down into the frame."""
    return float(seen[max(int(np.argmax(bpb < top)) - 1, 0)])


def points(curve: Curve) -> tuple[np.ndarray, np.ndarray]:
    """Bytes and BPB of a curve."""
    return np.maximum(np.array(curve.bytes, float), 1), np.array(curve.bpb, float)


def against(label: str, measure: Callable[[Figures], float]) -> Draw:
    """A drawing of BPB against something measured, on a logarithmic scale, each point named.

    A run far above the others would press them flat: it becomes a triangle at the upper edge, with its BPB.
    """

    def draw(axes: "Axes", rows: list[Row], baselines: Sequence[Baseline]) -> None:
        reached = [figures_of(row) for row in rows]
        usual = FAR * float(np.median([figures.bpb for figures in reached]))
        ceiling = max(figures.bpb_interval.high or figures.bpb for figures in reached if figures.bpb <= usual)
        points = [(measure(figures), min(figures.bpb, ceiling)) for figures in reached]
        logarithmic(axes, min(x for x, _ in points) / 1.3, max(x for x, _ in points) * 1.3)
        for row, figures, (x, y) in zip(rows, reached, points, strict=True):
            if figures.bpb > ceiling:
                axes.plot([x], [y], "^", color=COLOURS[row.family], markersize=6, zorder=4)
                continue
            bounds = figures.bpb_interval
            if bounds.low is not None and bounds.high is not None:
                axes.plot([x, x], [bounds.low, bounds.high], color=COLOURS[row.family], lw=1, alpha=0.3)
            mark(axes, row, x, y)
        names = [
            row.run + (f" ({figures.bpb:.2f})" if figures.bpb > ceiling else "")
            for row, figures in zip(rows, reached, strict=True)
        ]
        name_points(axes, (label, "bits per byte"), points, names, [COLOURS[row.family] for row in rows])

    return draw


def name_points(
    axes: "Axes",
    labels: tuple[str, str],
    points: Sequence[tuple[float, float]],
    names: Sequence[str],
    colours: Sequence[str],
) -> None:
    """Finishes axes with points in them: the labels of x and y, a grid, and a name beside each point."""
    axes.margins(y=0.08)
    axes.set_xlabel(labels[0])
    axes.set_ylabel(labels[1])
    axes.grid(True)
    figure = cast("Figure", axes.figure)
    figure.draw_without_rendering()  # settles the layout, so that labels know where their points are
    around(axes, figure.dpi, points, names, colours)


def logarithmic(axes: "Axes", low: float, high: float, unit: str = "") -> None:
    """A logarithmic x axis from `low` to `high`, ticked at 1, 2 and 5 and labelled in plain numbers."""
    from matplotlib.ticker import EngFormatter, FuncFormatter, LogLocator, NullLocator

    axes.set_xscale("log")
    axes.set_xlim(low, high if high > low else 2 * low)
    axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.xaxis.set_major_formatter(EngFormatter(unit) if unit else FuncFormatter(lambda x, _: f"{x:,g}"))


def shortened(text: str, length: int = 30) -> str:
    """At most `length` characters of a text, with an ellipsis where something is left out."""
    return text if len(text) <= length else text[: length - 1].rstrip() + "…"
