"""Writes what is generated: `python docs/update.py [--check]`.

From the committed results come the tables of README.md and docs/, the figures in docs/figures/, and the reports in
results/; from the command line its pages and its completion scripts. With `--check` nothing is written, and the exit
status is 1 when something is not current.
"""

import sys
from collections.abc import Iterator
from pathlib import Path

import cli_pages
import samples_page
from cpu1.errors import UserError
from cpu1.files import write_atomic
from cpu1.report.render.markdown import markdown
from tables import TABLES
from tables.figures import DRAWN, engines, figures, table_sizes, twins
from tables.pages import fill
from tables.results import RESULTS, ROOT, load, studies

PAGES = (ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md")))


def generated() -> Iterator[tuple[Path, str]]:
    """Every file with something generated in it, and its text. UserError for a table that is not known."""
    for page in PAGES:
        yield page, fill(page, TABLES)
    for study in studies():
        yield RESULTS / f"{study}.md", markdown(load(study).report)
    for study in DRAWN:
        yield from figures(study)
    yield engines()
    yield from table_sizes()
    yield from twins()
    yield from cli_pages.files()
    yield from samples_page.files()


def main() -> int:
    check = "--check" in sys.argv
    try:
        wanted = dict(generated())
    except UserError as error:
        print(error, file=sys.stderr)
        return 2
    stale = [path for path, text in wanted.items() if not path.exists() or path.read_text(encoding="utf-8") != text]
    for path in stale:
        if check:
            print(f"{path.relative_to(ROOT)} is not current: run python docs/update.py")
        else:
            write_atomic(path, wanted[path])
    return int(check and bool(stale))


if __name__ == "__main__":
    sys.exit(main())
