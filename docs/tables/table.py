"""A table as data, and the one place where tables are registered by name."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

TABLES: dict[str, "Maker"] = {}


@dataclass(frozen=True)
class Table:
    """Headings, the side to which each column is aligned ("l" or "r", one letter a column), and rows of Markdown."""

    head: Sequence[str]
    aligned: str
    rows: Sequence[Sequence[str]]

    def columns(self, *names: str) -> "Table":
        """Only these columns, in this order. ValueError for a heading that the table does not have."""
        places = [list(self.head).index(name) for name in names]
        rows = [[row[place] for place in places] for row in self.rows]
        return Table(names, "".join(self.aligned[place] for place in places), rows)

    def where(self, name: str, *values: str) -> "Table":
        """Only the rows whose cell in the column `name` is one of `values`."""
        place = list(self.head).index(name)
        return Table(self.head, self.aligned, [row for row in self.rows if row[place] in values])

    def markdown(self) -> str:
        rules = [{"l": ":--", "r": "--:"}[side] for side in self.aligned]
        return "".join("| " + " | ".join(cells) + " |\n" for cells in [self.head, rules, *self.rows])


Maker = Callable[[], Table]


def table(name: str) -> Callable[[Maker], Maker]:
    """Registers a function as the maker of the table `name`, which pages show between its markers."""

    def register(make: Maker) -> Maker:
        if name in TABLES:
            raise ValueError(f"two tables are named {name!r}")
        TABLES[name] = make
        return make

    return register
