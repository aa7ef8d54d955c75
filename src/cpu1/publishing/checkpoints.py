"""A folder of packed models, each with its card, and one that `cpu1 generate` takes where no model is named.

default.cpu1, default.md    the model that comes with an installation
RUN-SCALE-ROUND-sSEED.cpu1, .md
README.md                   all of them in a table;  index.json: the same for programs
"""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from cpu1.errors import UserError
from cpu1.files import apart, read_json, write_atomic, write_json
from cpu1.publishing.facts import Facts, Terms, read_facts
from cpu1.publishing.folders import write_folder
from cpu1.publishing.model_card import bits, model_card, speed, title
from cpu1.records import to_json
from cpu1.runs.pack import pack_run

DEFAULT = "default"
LARGEST = 40_000_000  # bytes of all models: they stand in a repository
KIND = "cpu1 checkpoints"


def build(
    default: Path,
    others: Sequence[Path],
    to: Path,
    terms: Terms | None = None,
    dense: str = "int8",
    report: Callable[[str], None] = print,
) -> None:
    """Packs finished runs into the folder `to`, whole or not at all. The default, if among the others, is there once.

    UserError for two runs of one name, for more than 40 MB, and when `to` holds anything that no earlier call wrote, or
    is one of the runs.
    """
    apart(to, [default, *others])
    runs = {DEFAULT: read_facts(default)}
    for folder in others:
        if folder.resolve() == default.resolve():
            continue
        facts = read_facts(folder)
        if facts.name in runs:
            raise UserError(f"{folder} and {runs[facts.name].folder} are both {facts.name}; name one of them")
        runs[facts.name] = facts
    write_folder(to, lambda fresh: _fill(fresh, runs, terms or Terms(), dense, report), _written_before)


def _fill(folder: Path, runs: dict[str, Facts], terms: Terms, dense: str, report: Callable[[str], None]) -> None:
    total, models = 0, []
    for name, facts in runs.items():
        file = f"{name}.cpu1"
        size = pack_run(facts.folder, folder / file, dense)
        total += size
        if total > LARGEST:
            raise UserError(f"with {facts.folder} the models are over {LARGEST:,} bytes; leave some out")
        write_atomic(folder / f"{name}.md", model_card(facts, terms, file, size, dense, unpacked=False))
        models.append(_entry(name, facts, size))
        report(f"{file}: {size:,} bytes, {bits(facts)} bits per byte")
    rows = [_row(name, facts, entry["bytes"]) for (name, facts), entry in zip(runs.items(), models, strict=True)]
    write_atomic(folder / "README.md", _page(rows))
    write_json(folder / "index.json", {"kind": KIND, "models": models})


def _entry(name: str, facts: Facts, size: int) -> dict[str, Any]:
    keys = ("run", "title", "scale", "round", "seed", "params", "bytes_seen", "bpb", "bpb_interval")
    return {"file": f"{name}.cpu1", "bytes": size, **{key: to_json(getattr(facts.result, key)) for key in keys}}


def _row(name: str, facts: Facts, size: int) -> str:
    result = facts.result
    cells = (
        f"[{name}.cpu1]({name}.md)",
        title(facts),
        f"{result.params:,}",
        f"{result.bytes_seen / 1e6:,.1f} MB",
        f"{bits(facts)} on {result.corpus.name}",
        speed(facts),
        f"{size / 1e3:,.0f} KB",
    )
    return "| " + " | ".join(cells) + " |"


def _page(rows: Sequence[str]) -> str:
    return (
        "# Packed models\n\n"
        '`default.cpu1` comes with an installation: `cpu1 generate "Once upon a time"` runs it. Each model\'s card is '
        "beside it. Bits per byte compare between models of one text only.\n\n"
        "| model | is | parameters | trained on | bits per byte, 95% | generated a second | file |\n"
        "| :-- | :-- | --: | --: | :-- | --: | --: |\n" + "\n".join(rows) + "\n"
    )


def _written_before(to: Path) -> set[str]:
    """The files of an earlier call, as its index says."""
    try:
        index = read_json(to / "index.json")
        files = [Path(model["file"]) for model in index["models"]] if index["kind"] == KIND else []
    except (UserError, KeyError, TypeError):
        return set()
    return {"README.md", "index.json", *(name for file in files for name in (file.name, file.with_suffix(".md").name))}
