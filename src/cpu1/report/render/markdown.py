"""The report in Markdown."""

import re
from collections.abc import Sequence

from cpu1.report.columns import RUN, TITLE, Column, Table, groups, tables
from cpu1.report.render.phrases import REPORT_TITLE, absences, corpora, notes, one_line, troubles, visible
from cpu1.report.report import StudyReport


def markdown(report: StudyReport) -> str:
    """The whole report: tables, baselines, samples and notes."""
    parts = [f"# {REPORT_TITLE}", *map(escape, corpora(report))]
    if lines := troubles(report) + absences(report):
        parts.append("\n".join(f"- {escape(line)}" for line in lines))
    for part in tables(report):
        parts += [f"## {escape(part.heading)}", *section(part)]
    if report.baselines:
        rows = [[escape(baseline.name), f"{baseline.bpb:.4f}"] for baseline in report.baselines]
        parts += ["## Baselines on the same bytes", table(["Baseline", "BPB"], rows, [True, False])]
    parts += ["## Samples", *samples(report), "## How to read it", *notes(report)]
    return "\n\n".join(parts) + "\n"


def section(part: Table) -> list[str]:
    """A table for each group of columns: one would be too wide to read."""
    parts = []
    for name, columns in groups(part).items():
        shown: Sequence[Column] = (RUN, TITLE, *columns)
        rows = [[escape(column.cell(row)) for column in shown] for row in part.rows]
        parts += [f"### {escape(name)}", table([c.heading for c in shown], rows, [c.words for c in shown])]
    return parts


def table(headings: Sequence[str], rows: Sequence[Sequence[str]], words: Sequence[bool]) -> str:
    """A Markdown table of escaped rows; columns of words to the left, of numbers to the right."""
    rule = [":--" if left else "--:" for left in words]
    return "\n".join("| " + " | ".join(cells) + " |" for cells in [[escape(h) for h in headings], rule, *rows])


def samples(report: StudyReport) -> list[str]:
    """One generated sample for each finished row."""
    parts = []
    for row in report.rows:
        if row.figures:
            made = row.figures.generation
            parts.append(
                f"**{row.run}** ({row.scale}, {row.round}) {escape(row.title)}: {made.verdict}, "
                f"loop {made.loop:.2f}, entropy {made.entropy:.2f} (corpus {made.corpus_entropy:.2f})"
            )
            parts += [fenced(made.prompt), fenced(made.sample)]
    return parts


def fenced(text: str) -> str:
    """A block of code with a fence longer than any in the text."""
    longest = max((len(run) for run in re.findall("`+", text)), default=0)
    fence = "`" * max(3, longest + 1)
    return f"{fence}text\n{visible(text)}\n{fence}"


def escape(text: str) -> str:
    """Text for a cell or a paragraph: nothing in it is markup."""
    return re.sub(r"([\\`*_\[\]<>|])", r"\\\1", one_line(text))
