"""Tables of sweeps: in full, and what a page shows of them."""

from functools import partial

from cpu1.study.sweep_table import change, grid, label
from tables import results
from tables.table import Table, table

# The sweeps, and the headings that a page shows of each beside what was varied; none where the page has its own table.
GAP = "less the first, 95%"
SHOWN: dict[str, tuple[str, ...]] = {
    "sweep-nano": (),
    "sweep-nano-ternary": ("BPB", GAP),
    "sweep-nano-r2": ("BPB", GAP),
    "sweep-small-r1": ("BPB", GAP),
    "sweep-gate": ("BPB", GAP, "generates KB/s", "deleted", "soft"),
    "sweep-distill": ("BPB", GAP),
    "sweep-batch": ("BPB", GAP),
    "sweep-lessons": ("BPB", GAP),
    "sweep-temperature": ("BPB", GAP),
    "sweep-hidden": ("BPB", GAP),
    "sweep-longer-teacher": ("BPB", GAP),
}
UNTOLD = ("batch=2", "batch=8", "decay=0.8")  # left out of the short table of sweep-nano, which would be too long


def sweep(name: str) -> Table:
    """A sweep in full; the heading has the time at which learning curves are read."""
    found = results.sweep(name)
    heads, rows, varied = grid(found)
    time = f"BPB at {found['equal_time_seconds']:,.0f} s"
    return Table(
        [time if head == "at equal time" else head for head in heads],
        "".join("l" if head in varied else "r" for head in heads),
        rows,
    )


def shown(name: str) -> Table:
    """What was varied and what matters of it."""
    return sweep(name).columns(*grid(results.sweep(name))[2], *SHOWN[name])


for name, headings in SHOWN.items():
    table(name)(partial(sweep, name))
    if headings:
        table(f"{name}-short")(partial(shown, name))


@table("sweep-nano-short")
def knobs() -> Table:
    """One knob a row: the difference to the settings as they are, for each run."""
    found = results.sweep("sweep-nano")
    runs = list(dict.fromkeys(row["run"] for row in found["rows"]))
    gaps = {(label(row, found["varied"]), row["run"]): change(row) for row in found["rows"]}
    variants = [name for name in dict.fromkeys(name for name, _ in gaps) if gaps[name, runs[0]] and name not in UNTOLD]
    return Table(
        ["variant", *(f"run {run}" for run in runs)],
        "l" + "r" * len(runs),
        [[f"`{name}`", *(gaps[name, run] for run in runs)] for name in variants],
    )
