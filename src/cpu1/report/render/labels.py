"""Labels that do not overlap: set beside the end of lines, or around points."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from matplotlib.axes import Axes

Box = tuple[float, float, float, float]  # left, bottom, right, top in points of the drawing


def spread(wanted: Sequence[float], gap: float, low: float, high: float) -> list[float]:
    """Positions near to `wanted`, at least `gap` apart, in the same order, between `low` and `high`.

    Neighbours that crowd each other form a block around their mean (pool adjacent violators).
    """
    order = sorted(range(len(wanted)), key=lambda i: wanted[i])
    blocks: list[list[float]] = []  # [sum of (wanted - offset inside the block), members]
    for i in order:
        blocks.append([wanted[i], 1])
        while len(blocks) > 1 and start(blocks[-2]) + blocks[-2][1] * gap > start(blocks[-1]):
            total, members = blocks.pop()
            blocks[-1][0] += total - members * blocks[-1][1] * gap
            blocks[-1][1] += members
    places = [start(block) + k * gap for block in blocks for k in range(int(block[1]))]
    for k in range(len(places)):  # pushed in from below, then from above
        places[k] = max(places[k], low + k * gap)
    for k in range(len(places)):
        places[-1 - k] = min(places[-1 - k], high - k * gap)
    found = [0.0] * len(wanted)
    for i, place in zip(order, places, strict=True):
        found[i] = place
    return found


def start(block: list[float]) -> float:
    """The lowest position of a block."""
    return block[0] / block[1]


def around(
    axes: "Axes", dpi: float, points: Sequence[tuple[float, float]], texts: Sequence[str], colours: Sequence[str]
) -> None:
    """Names points (data coordinates), each at the nearest free place, with a leader where that is far."""
    size = 8.0
    spots = axes.transData.transform(np.asarray(points, float)) * 72 / dpi
    frame = [float(edge) * 72 / dpi for edge in axes.get_window_extent().extents]
    marks: list[Box] = [(x - 4, y - 4, x + 4, y + 4) for x, y in spots]
    for (x, y), point, text, colour in zip(spots, points, texts, colours, strict=True):
        dx, dy, reach, box = nearest_free(x, y, 0.66 * size * len(text) + 3, size, marks, frame)
        marks.append(box)
        axes.annotate(
            text,
            point,
            (dx, dy),
            textcoords="offset points",
            ha="center",
            va="center_baseline",
            fontsize=size,
            color=colour,
            arrowprops={"arrowstyle": "-", "color": colour, "lw": 0.5, "shrinkA": 2, "shrinkB": 3}
            if reach > 9
            else None,
        )


def nearest_free(
    x: float, y: float, width: float, height: float, taken: Sequence[Box], frame: Sequence[float]
) -> tuple[float, float, float, Box]:
    """The offset of a label's middle from its point, the gap between, and its box: the first free one.

    Where none is free it is the one with the least overlap.
    """
    best: tuple[float, tuple[float, float, float, Box]] | None = None
    for reach in (4.5, 9, 14, 20, 28, 38, 50):
        for angle in np.arange(16) * np.pi / 8:
            dx = float(np.cos(angle)) * (width / 2 + reach)
            dy = float(np.sin(angle)) * (height / 2 + reach)
            box = (x + dx - width / 2, y + dy - height / 2, x + dx + width / 2, y + dy + height / 2)
            cost = sum(overlap(box, other) for other in taken) + outside(box, frame)
            if cost == 0:
                return dx, dy, reach, box
            if best is None or cost < best[0]:
                best = (cost, (dx, dy, reach, box))
    assert best
    return best[1]


def overlap(a: Box, b: Box) -> float:
    """The area that two boxes share, in square pixels."""
    return max(0.0, min(a[2], b[2]) - max(a[0], b[0])) * max(0.0, min(a[3], b[3]) - max(a[1], b[1]))


def outside(box: Box, frame: Sequence[float]) -> float:
    """How far a box leaves the frame."""
    return sum(max(0.0, d) for d in (frame[0] - box[0], frame[1] - box[1], box[2] - frame[2], box[3] - frame[3])) * 10
