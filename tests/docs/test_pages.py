"""The pages of docs/: linked, with links and paths that lead somewhere, and tables that fit on a page."""

import re
from pathlib import Path

import pytest
from helpers.pages import DOCS, README, ROOT, anchors, links, name, read, tables

INDEX = ROOT / "docs" / "index.md"
LOG = ROOT / "LOG.md"
FULL = (ROOT / "docs" / "results", ROOT / "docs" / "cli")  # generated in full: here tables may have any size
LONG_LINES = (ROOT / "docs" / "engine.md",)
MOST_ROWS, MOST_COLUMNS, WIDEST_LINE = 12, 7, 120
PATH = re.compile(r"(?<![\w/.-])(?:src/cpu1|tests|native|bench)/[\w./*-]*")
SHORT = [page for page in (README, *DOCS) if not set(FULL) & set(page.parents)]


def test_the_index_links_every_page():
    linked = {(INDEX.parent / target.partition("#")[0]).resolve() for target in links(read(INDEX))}
    assert set(DOCS) - linked == {INDEX}


@pytest.mark.parametrize("page", [README, LOG, *DOCS], ids=name)
def test_every_link_leads_somewhere(page):
    for link in links(read(page)):
        path, _, anchor = link.partition("#")
        target = (page.parent / path).resolve() if path else page
        assert target.exists(), link
        assert not anchor or anchor in anchors(read(target)), link


@pytest.mark.parametrize("page", [README, *DOCS], ids=name)
def test_every_path_exists(page):
    for path in PATH.findall(code(page)):
        assert list(ROOT.glob(path.rstrip("./"))), path


def code(page: Path) -> str:
    """What a page sets as code: fenced blocks and spans between backticks, one a line."""
    return "\n".join(re.findall(r"^```.*?^```$|`[^`\n]+`", read(page), re.MULTILINE | re.DOTALL))


@pytest.mark.parametrize("page", [README, *DOCS], ids=name)
def test_rows_have_as_many_cells_as_their_heading(page):
    for head, *body in tables(read(page)):
        assert all(len(row) == len(head) for row in body), head


@pytest.mark.parametrize("page", SHORT, ids=name)
def test_tables_fit_on_a_page(page):
    for head, *body in tables(read(page)):
        assert len(body) <= MOST_ROWS, f"{len(body)} rows below {head}: show fewer, and all of them in docs/results/"
        assert len(head) <= MOST_COLUMNS, f"{len(head)} columns in {head}: show fewer, and all of them in docs/results/"


@pytest.mark.parametrize("page", [page for page in DOCS if page not in LONG_LINES], ids=name)
def test_lines_are_readable(page):
    """Tables aside, whose rows cannot be wrapped."""
    long = [line for line in read(page).splitlines() if len(line) > WIDEST_LINE and not line.startswith("|")]
    assert not long
