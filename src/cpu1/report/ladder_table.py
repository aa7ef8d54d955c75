"""The ladder as a table: each run and what it changes, or each run's size beside the card's."""

from dataclasses import asdict, is_dataclass
from typing import Any

from rich.console import Console
from rich.table import Table

from cpu1.model.ladder import LADDER, recipe
from cpu1.model.network import parameter_count
from cpu1.model.recipe import differences
from cpu1.report import original

SAME = "base"  # differences are those of one scale


def chain() -> list[dict[str, Any]]:
    """A row a run: its parent, and each changed field as (the parent's, its own) in words."""
    rows = []
    for run, rung in LADDER.items():
        changes = differences(recipe(run, SAME), recipe(rung.parent, SAME)) if rung.parent else {}
        own = {name: _words(*pair) for name, pair in changes.items()}
        rows.append(
            {
                "run": run,
                "title": rung.title,
                "parent": rung.parent,
                "scale": rung.scale,
                "level": rung.recipe.level,
                "changes": own,
            }
        )
    return rows


def sizes(scale: str = "card") -> list[dict[str, Any]]:
    """A row a run: parameters and fp32 megabytes (4 bytes each, 10^6) beside the card's printed digits."""
    rows = []
    for run in LADDER:
        params = parameter_count(recipe(run, scale))
        card = original.find(run, "r1")
        assert card is not None
        assert card.ram_fp32_mb is not None
        same = (
            f"{params / 1e6:.1f}" == f"{card.params_m:.1f}" and f"{4 * params / 1e6:.1f}" == f"{card.ram_fp32_mb:.1f}"
        )
        rows.append(
            {
                "run": run,
                "params": params,
                "ram_fp32_mb": 4 * params / 1e6,
                "card_params_m": card.params_m,
                "card_ram_mb": card.ram_fp32_mb,
                "same": same,
            }
        )
    return rows


def print_chain() -> None:
    table = Table("run", "parent", "level", "scale", "is", "changes", box=None, header_style="bold")
    for row in chain():
        changes = "\n".join(f"{name}: {before} → {after}" for name, (before, after) in row["changes"].items())
        table.add_row(row["run"], row["parent"] or "", row["level"], row["scale"], row["title"], changes)
    Console().print(table)


def print_sizes(scale: str) -> None:
    table = Table("run", "params", "params M", "RAM fp32 MB", "card M", "card MB", "", box=None, header_style="bold")
    rows = sizes(scale)
    for row in rows:
        table.add_row(
            row["run"],
            f"{row['params']:,}",
            f"{row['params'] / 1e6:.1f}",
            f"{row['ram_fp32_mb']:.1f}",
            f"{row['card_params_m']}",
            f"{row['card_ram_mb']}",
            "same" if row["same"] else "differs",
        )
    console = Console()
    console.print(table)
    console.print(f"{sum(row['same'] for row in rows)} of {len(rows)} rows match both columns of the card")


def _words(before: Any, after: Any) -> tuple[str, str]:
    """Two ingredients by name; with their fields where the name is the same."""
    kinds = [type(value).__name__ if is_dataclass(value) else "none" for value in (before, after)]
    if kinds[0] != kinds[1]:
        return kinds[0], kinds[1]
    changed = {name: value for name, value in asdict(after).items() if getattr(before, name) != value}
    shown = [", ".join(f"{name}={getattr(value, name)}" for name in changed) for value in (before, after)]
    return f"{kinds[0]}({shown[0]})", f"{kinds[1]}({shown[1]})"
