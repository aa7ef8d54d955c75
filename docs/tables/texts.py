"""Tables of the texts that texts/build_texts.py makes."""

import tomllib

from cpu1.files import read_json
from tables.results import ROOT
from tables.table import Table, table

TEXTS = ROOT / "texts"


@table("texts")
def texts() -> Table:
    """Each set with its sources, as texts/sources.toml has them, and its size, as texts/made.json has it."""
    sources: dict[str, list[str]] = {}
    for entry in tomllib.loads((TEXTS / "sources.toml").read_text(encoding="utf-8"))["source"]:
        name = entry["from"].partition(":")[2].partition("=")[0].partition("@")[0]
        sources.setdefault(entry["set"], []).append(name)
    made = read_json(TEXTS / "made.json")
    lines = []
    for name, origins in sources.items():
        train, valid = (made[f"{name}.{part}.txt"] for part in ("train", "valid"))
        kept = f"{train['bytes'] / 1e6:.1f} MB", f"{train['documents']:,}", f"{valid['bytes'] / 1e3:,.0f} KB"
        lines.append([name, ", ".join(dict.fromkeys(origins)), *kept])
    return Table(["set", "from", "to train on", "documents", "held out"], "llrrr", lines)
