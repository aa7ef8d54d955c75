"""Tables of the server: its fields, from the code, and what was measured of it."""

from collections.abc import Iterable

from cpu1.server.asked import completion_fields
from cpu1.server.settings import Settings
from tables.results import bench
from tables.table import Table, table

TEXT = ("prompt", "max_tokens", "n", "best_of", "echo", "logprobs", "stream", "stream_options")
DRAWING = ("temperature", "top_p", "top_k", "min_p", "seed", "stop", "ignore_eos")
WAYS = {
    "batch": "a batch, without a server",
    "whole": "the server, texts whole",
    "server": "the server, texts in streams",
    "threads": "a thread and a session for each text",
}


def fields(names: Iterable[str]) -> Table:
    """Fields of /v1/completions, with their defaults."""
    known, lines = completion_fields(Settings()), []
    for name in names:
        default = known[name].default
        shown = "" if default in (None, False, (), [b""]) else f"{default:g}"
        lines.append([f"`{name}`", shown, known[name].about])
    return Table(["field", "default", "meaning"], "lrl", lines)


@table("server-text")
def text() -> Table:
    return fields(TEXT)


@table("server-drawing")
def drawing() -> Table:
    return fields(DRAWING)


@table("server-load")
def load() -> Table:
    """What clients see, as `bench/load.py` measured it."""
    lines = []
    for row in bench("load")["clients"]:
        first, whole, health = row["first_ms"], row["whole_ms"], row["health_ms"]
        lines.append(
            [
                f"{row['clients']:,}",
                f"{row['requests_per_s']:,.1f}",
                f"{row['bytes_per_s']:,}",
                f"{first['p50']:,.0f} / {first['p99']:,.0f}",
                f"{whole['p50']:,.0f} / {whole['p99']:,.0f}",
                f"{health['p50']:,.0f} / {health['p99']:,.0f}",
                f"{row['rss_mb']:,.0f}",
            ]
        )
    head = ["clients", "texts a second", "bytes a second", "first piece, ms", "whole, ms", "/health, ms", "memory, MB"]
    return Table(head, "rrrrrrr", lines)


@table("server-wrk")
def by_wrk() -> Table:
    """The same as wrk sees it."""
    lines = []
    for row in bench("load")["wrk"]:
        times = (f"{row[what]['p50']:,.0f} / {row[what]['p99']:,.0f}" for what in ("whole_ms", "health_ms"))
        lines.append([f"{row['clients']:,}", f"{row['requests_per_s']:,.1f}", f"{row['bytes_per_s']:,}", *times])
    return Table(["clients", "texts a second", "bytes a second", "whole, ms", "/health, ms"], "rrrrr", lines)


@table("server-pairs")
def pairs() -> Table:
    """64 texts at once, by the server and without it, measured in turn."""
    found, lines = bench("load")["pairs"], []
    for way, name in WAYS.items():
        row = [name]
        for kind in ("clock", "cpu"):
            row.append(f"{found[f'{kind}_bytes_per_s'][way]:,}")
            ratios = found.get(f"{kind}_ratio_{way}")
            row.append("" if ratios is None else "{:.2f} [{:.2f}, {:.2f}]".format(*ratios))
        lines.append(row)
    head = ["64 texts of 200 bytes", "bytes a second", "ratio", "bytes a second of cores", "ratio "]
    return Table(head, "lrrrr", lines)


@table("server-clients")
def clients() -> Table:
    """Clients whose answers were compared with the model's own, by `bench/clients.py`."""
    rows = bench("clients")["clients"]
    lines = [
        [row["client"], row["version"], ", ".join(what for what, right in row["right"].items() if right)]
        for row in rows
    ]
    return Table(["client", "version", "the same as without a server"], "lll", lines)
