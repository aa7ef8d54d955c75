"""Two runs of a study against each other, on every text that both were scored on."""

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from rich.table import Table
from rich.text import Text

from cpu1.console import open_console
from cpu1.errors import UserError
from cpu1.evaluation.statistics import Interval, bpb_interval
from cpu1.report.columns import against_parent, number, signed
from cpu1.report.report import section_rank
from cpu1.report.statistics import bytes_of, check_documents, compare, in_common, nats, texts
from cpu1.runs.folders import Run
from cpu1.runs.studies import load_runs


@dataclass(frozen=True)
class Line:
    """One text: bits per byte of both, and of the first less the second."""

    scale: str
    round: str
    text: str  # "" is the study's own, held out
    seeds: tuple[int, int]  # how many were compared: those that both have, or all where none is shared
    bpb: tuple[float, float]
    difference: Interval


def compare_runs(study: Path, first: str, second: str) -> list[Line]:
    """A line for each scale, round and text; UserError where nothing pairs."""
    folders = [folder for folder in load_runs(study) if folder.result and folder.key.run in (first, second)]
    lines = []
    for scale, round in sorted({(folder.key.scale, folder.key.round) for folder in folders}, key=section_rank):
        members = [folder for folder in folders if (folder.key.scale, folder.key.round) == (scale, round)]
        sides = [[folder for folder in members if folder.key.run == run] for run in (first, second)]
        if all(sides):
            check_documents(members)
            lines += [_line(scale, round, name, *sides) for name in ("", *texts(members))]
    if not lines:
        raise UserError(f"{study}: no scale and round in which both {first} and {second} have finished")
    return lines


def _line(scale: str, round: str, text: str, one: list[Run], other: list[Run]) -> Line:
    one, other = in_common(one, other)
    bpb = [bpb_interval(nats(side, text), bytes_of(side, text)).value for side in (one, other)]
    difference = compare(one, other, text)
    assert difference
    return Line(scale, round, text, (len(one), len(other)), (bpb[0], bpb[1]), difference)


def to_json(lines: list[Line]) -> list[dict[str, Any]]:
    """The lines as `cpu1 compare --json` prints them."""
    return [asdict(line) for line in lines]


def print_comparison(lines: list[Line], first: str, second: str) -> None:
    """The lines as a table."""
    table = Table("", "text", "seeds", box=None, header_style="bold", pad_edge=False)
    for heading in (first, second, f"{first} less {second}, 95%", "%"):
        table.add_column(heading, justify="right", no_wrap=True)
    for line in lines:
        one, other = line.bpb
        table.add_row(
            f"{line.scale} {line.round}",
            Text(line.text or "its own, held out"),
            "+".join(map(str, line.seeds)),
            number(one, 4),
            number(other, 4),
            against_parent(line.difference),
            signed(100 * (one / other - 1), 2),
        )
    open_console().print(table)
    if not all(line.difference.seeds for line in lines):
        print("* one seed on a side: the interval covers the choice of documents alone")
