"""The report's most telling columns in the terminal: 120 columns wide, or 80."""

from rich import box
from rich.console import Console
from rich.table import Table as Grid
from rich.text import Text

from cpu1.console import open_console
from cpu1.report.columns import (
    BPB,
    DIFFERENCE,
    FILE,
    PARAMS,
    RUN,
    SPEED,
    TITLE,
    VERDICT,
    Column,
    Table,
    caution,
    tables,
)
from cpu1.report.render.phrases import absences, one_line, troubles
from cpu1.report.report import Row, StudyReport

SHOWN = (RUN, TITLE, PARAMS, BPB, DIFFERENCE, SPEED, FILE, VERDICT)
NARROW = (RUN, PARAMS, BPB, DIFFERENCE, SPEED, VERDICT)
ROOM = 115  # columns of a terminal that `SHOWN` needs
STYLES = {"full precision": "cyan", "ternary": "yellow", "small": "green"}


def print_report(report: StudyReport, console: Console | None = None) -> None:
    """Prints the tables, the baselines and whatever went wrong."""
    console = console or open_console()
    for part in tables(report):
        console.print(grid(part, SHOWN if console.width >= ROOM else NARROW))
    if report.baselines:
        line = ", ".join(f"{baseline.name} {baseline.bpb:.3f}" for baseline in report.baselines)
        console.print(Text(f"Baselines on the same bytes, BPB: {one_line(line)}"))
    console.print(Text(caution(report), style="dim"))
    for line in troubles(report):
        console.print(Text(line, style="red"))
    for line in absences(report):
        console.print(Text(line, style="dim"))


def grid(part: Table, shown: tuple[Column, ...]) -> Grid:
    """One of the report's tables, with the given columns."""
    made = Grid(title=part.heading, box=box.SIMPLE_HEAD, title_justify="left", title_style="bold", pad_edge=False)
    for column in shown:
        wraps = column is TITLE
        made.add_column(
            column.heading,
            justify="left" if column.words else "right",
            no_wrap=not wraps,
            overflow="fold" if wraps else "ellipsis",
        )
    for row in part.rows:
        made.add_row(*(Text(one_line(column.cell(row)), style=style(column, row)) for column in shown))
    return made


def style(column: Column, row: Row) -> str:
    """Colour by family on the run's name; red for what went wrong."""
    if row.figures is None:
        return "red"
    if column is RUN:
        return STYLES[row.family]
    if column is VERDICT and column.cell(row) != "PASS":
        return "red"
    return ""
