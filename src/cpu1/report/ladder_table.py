"""The ladder as a table: each run and what it changes, or each run's size beside the card's."""

from dataclasses import asdict, is_dataclass
from typing import Any

from rich.table import Table

from cpu1.console import open_console
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


def sizes(scale: str = "original") -> list[dict[str, Any]]:
    """A row a run: parameters and fp32 megabytes (4 bytes each, 10^6), next to the original card's printed digits.

    The original's figures, and whether ours print as the `same` digits, are None for a run that it does not have.
    """
    return [_sizes(run, parameter_count(recipe(run, scale))) for run in LADDER]


def _sizes(run: str, params: int) -> dict[str, Any]:
    own, row = (params / 1e6, 4 * params / 1e6), original.find(run, "r1")
    printed = (row.params_m, row.ram_fp32_mb) if row else (None, None)
    return {
        "run": run,
        "params": params,
        "ram_fp32_mb": own[1],
        "original_params_m": printed[0],
        "original_ram_mb": printed[1],
        "same": [f"{value:.1f}" for value in own] == [f"{value:.1f}" for value in printed] if row else None,
    }


def print_chain() -> None:
    """Prints each run and what it changes in its parent's recipe."""
    table = Table("run", "parent", "level", "scale", "is", "changes", box=None, header_style="bold")
    for row in chain():
        changes = "\n".join(f"{name}: {before} → {after}" for name, (before, after) in row["changes"].items())
        table.add_row(row["run"], row["parent"] or "", row["level"], row["scale"], row["title"], changes)
    open_console().print(table)


def print_sizes(scale: str) -> None:
    """Prints each run's size at a scale, and what the original card printed."""
    table = Table("run", "params", "params M", "RAM fp32 MB", "card M", "card MB", "", box=None, header_style="bold")
    rows = sizes(scale)
    for row in rows:
        table.add_row(
            row["run"],
            f"{row['params']:,}",
            f"{row['params'] / 1e6:.1f}",
            f"{row['ram_fp32_mb']:.1f}",
            *("" if row[key] is None else str(row[key]) for key in ("original_params_m", "original_ram_mb")),
            {True: "same", False: "differs", None: "not in the original"}[row["same"]],
        )
    console = open_console()
    console.print(table)
    known = [row["same"] for row in rows if row["same"] is not None]
    console.print(f"{sum(known)} of {len(known)} rows match both columns of the original card")


def _words(before: Any, after: Any) -> tuple[str, str]:
    """Two ingredients by name; with their fields where the name is the same."""
    kinds = [type(value).__name__ if is_dataclass(value) else "none" for value in (before, after)]
    if kinds[0] != kinds[1]:
        return kinds[0], kinds[1]
    changed = {name: value for name, value in asdict(after).items() if getattr(before, name) != value}
    shown = [", ".join(f"{name}={getattr(value, name)}" for name in changed) for value in (before, after)]
    return f"{kinds[0]}({shown[0]})", f"{kinds[1]}({shown[1]})"
