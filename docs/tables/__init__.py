"""The tables of README.md and docs/, made from the committed results; `docs/update.py` writes them into the pages.

To add a table, write a function that returns a `Table`, register it with `@table("name")`, and put the two lines
`<!-- table name -->` and `<!-- /table -->` into a page. A page of docs/ shows at most 12 rows and 7 columns; a
longer table belongs on a page of docs/results/.
"""

from tables import benches, language, serving, studies, sweeps, texts  # each registers its tables
from tables.table import TABLES

__all__ = ["TABLES", "benches", "language", "serving", "studies", "sweeps", "texts"]
