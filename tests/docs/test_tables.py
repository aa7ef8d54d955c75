"""How tables come into pages."""

import pytest
from helpers.pages import DOCS, README, read

from cpu1.errors import UserError
from tables import TABLES
from tables.pages import BLOCK, fill
from tables.table import Table, table

SPEEDS = Table(["run", "KB/s", "file"], "lrr", [["03", "12", "78 MB"], ["04", "13", "11 MB"]])


def test_columns_and_rows_are_chosen_by_name():
    chosen = SPEEDS.columns("file", "run").where("run", "04")
    assert chosen.markdown() == "| file | run |\n| --: | :-- |\n| 11 MB | 04 |\n"


def test_only_what_stands_between_markers_changes(tmp_path):
    page = tmp_path / "page.md"
    page.write_text("Before\n<!-- table speeds -->\nold\n<!-- /table -->\nafter\n", encoding="utf-8")
    filled = fill(page, {"speeds": lambda: SPEEDS})
    assert filled == f"Before\n<!-- table speeds -->\n{SPEEDS.markdown()}<!-- /table -->\nafter\n"


def test_an_unknown_table_is_refused_with_the_known_ones(tmp_path):
    page = tmp_path / "page.md"
    page.write_text("<!-- table sped -->\n<!-- /table -->\n", encoding="utf-8")
    with pytest.raises(UserError, match=r"page\.md: no table 'sped'; known: files, speeds$"):
        fill(page, {"speeds": lambda: SPEEDS, "files": lambda: SPEEDS})


def test_a_name_is_registered_once():
    with pytest.raises(ValueError, match="two tables are named 'generation'"):
        table("generation")(lambda: SPEEDS)


def test_every_table_is_on_a_page():
    shown = {found[2] for page in (README, *DOCS) for found in BLOCK.finditer(read(page))}
    assert set(TABLES) - shown == set()
