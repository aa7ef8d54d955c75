"""The report as one self-contained page: figures inline, no script, nothing fetched, every text escaped."""

from collections.abc import Sequence
from html import escape
from importlib import resources

from cpu1.report.columns import RUN, TITLE, Column, Table, groups, heading, tables
from cpu1.report.render.phrases import REPORT_TITLE, absences, corpora, notes, troubles, visible
from cpu1.report.render.plots import Drawing, drawings
from cpu1.report.report import Row, StudyReport

CLASSES = {"full precision": "full", "ternary": "ternary", "small": "small"}
LEGEND = (
    '<p class="legend"><span class="full"><i></i><b>full precision</b></span><span class="ternary"><i></i>'
    '<b>ternary</b></span><span class="small"><i></i><b>small runs of the original, 13 to 16 (ternary)</b></span>'
    '<span class="dim"><i class="hollow"></i><b>hollow, or a dashed line: token-level</b></span></p>'
)


def page(report: StudyReport) -> str:
    """The whole report as HTML."""
    style = resources.files(__package__).joinpath("page.css").read_text(encoding="utf-8")
    body = [f"<h1>{REPORT_TITLE}</h1>", *(f'<p class="dim">{safe(line)}</p>' for line in corpora(report))]
    if lines := troubles(report):
        body.append('<ul class="wrong">' + "".join(f"<li>{safe(line)}</li>" for line in lines) + "</ul>")
    body += [f'<p class="dim">{safe(line)}</p>' for line in absences(report)]
    for section in report.sections:
        if drawn := drawings(section, report.baselines):
            body += [f"<h2>{safe(heading(section))}</h2>", LEGEND, figures(drawn)]
    for part in tables(report):
        body += [f"<h2>{safe(part.heading)}</h2>", table(part)]
    if report.baselines:
        body += ["<h2>Baselines on the same bytes</h2>", baselines(report)]
    body += ["<h2>Samples</h2>", *(sample(row) for row in report.rows if row.figures)]
    body += ["<h2>How to read it</h2>", *(f"<p>{safe(note)}</p>" for note in notes(report))]
    return (
        '<!doctype html>\n<html lang="en">\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{REPORT_TITLE}</title>\n<style>\n{style}</style>\n" + "\n".join(body) + "\n</html>\n"
    )


def safe(text: str) -> str:
    """Text for HTML: escaped, control characters made visible."""
    return escape(visible(text))


def figures(drawn: Sequence[Drawing]) -> str:
    """The figures of a section, side by side where there is room."""
    shown = (
        f"<figure><h3>{safe(drawing.title)}</h3>{drawing.svg}<figcaption>{safe(drawing.caption)}</figcaption></figure>"
        for drawing in drawn
    )
    return f'<div class="figures">{"".join(shown)}</div>'


def table(part: Table) -> str:
    """All columns in one table, grouped by where they come from."""
    columns = groups(part)
    last = list(columns)[-1] if len(columns) > 2 else ""
    top = "".join(f'<th class="first" colspan="{len(members)}">{safe(name)}</th>' for name, members in columns.items())
    heads = head(RUN, "words") + head(TITLE, "words")
    heads += "".join(head(column, kind) for name in columns for column, kind in members(columns, name, last))
    rows = "".join(
        f'<tr><th class="{CLASSES[row.family]}">{safe(RUN.cell(row))}</th>'
        f'<td class="words">{safe(TITLE.cell(row))}{wrong(row)}</td>'
        + "".join(cell(column, kind, row) for name in columns for column, kind in members(columns, name, last))
        + "</tr>\n"
        for row in part.rows
    )
    return (
        '<div class="scroll"><table><thead><tr class="group"><th></th><th></th>'
        f"{top}</tr><tr>{heads}</tr></thead><tbody>\n{rows}</tbody></table></div>"
    )


def members(columns: dict[str, tuple[Column, ...]], name: str, last: str) -> list[tuple[Column, str]]:
    """A group's columns with the classes of their cells."""
    return [
        (
            column,
            " ".join(
                word for word, said in (("words", column.words), ("first", not place), ("then", name == last)) if said
            ),
        )
        for place, column in enumerate(columns[name])
    ]


def head(column: Column, kind: str) -> str:
    """A heading; `kind` is its CSS class."""
    return f'<th class="{kind}">{safe(column.heading)}</th>'


def cell(column: Column, kind: str, row: Row) -> str:
    """A row's cell of a column; `kind` is its CSS class."""
    return f'<td class="{kind}">{safe(column.cell(row))}</td>'


def wrong(row: Row) -> str:
    """What went wrong with a row that has no figures."""
    if row.figures:
        return ""
    return f' <span class="wrong">{safe(row.troubles[0].state)}, see above</span>'


def baselines(report: StudyReport) -> str:
    """The table of baselines."""
    rows = "".join(
        f'<tr><td class="words">{safe(baseline.name)}</td><td>{baseline.bpb:.4f}</td></tr>'
        for baseline in report.baselines
    )
    heads = '<th class="words">Baseline</th><th>BPB</th>'
    return f"<table><thead><tr>{heads}</tr></thead><tbody>{rows}</tbody></table>"


def sample(row: Row) -> str:
    """A row's generated sample, folded up; the prompt is dimmed."""
    assert row.figures
    made = row.figures.generation
    about = f"{made.verdict}, loop {made.loop:.2f}, entropy {made.entropy:.2f} (corpus {made.corpus_entropy:.2f})"
    return (
        f"<details><summary><b>{safe(row.run)}</b> {safe(row.title)} "
        f'<span class="dim">{safe(row.scale)}, {safe(row.round)}: {safe(about)}</span></summary>'
        f"<pre><mark>{safe(made.prompt)}</mark>{safe(made.sample)}</pre></details>"
    )
