"""A folder of packed models, each with its card, and one that `cpu1 generate` takes where no model is named.

default.cpu1, default.md    the model that comes with an installation
RUN-SCALE-ROUND-sSEED.cpu1, .md
README.md                   all of them in a table;  index.json: the same for programs
"""

import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from cpu1.errors import UserError
from cpu1.files import apart, read_json, write_atomic, write_json
from cpu1.publishing.facts import Facts, Terms, read_facts
from cpu1.publishing.folders import write_folder
from cpu1.publishing.model_card import bits, model_card
from cpu1.records import to_json
from cpu1.runs.pack import pack_run

DEFAULT = "default"
LARGEST = 40_000_000  # bytes of all models: they stand in a repository
KIND = "cpu1 checkpoints"
Entry = dict[str, Any]  # a model of index.json: its file, size, speed, and what the run's result says
ENTRY = ("file", "bytes", "run", "title", "scale", "round", "seed", "params", "bytes_seen", "bpb", "bpb_interval",
         "corpus", "generated_bytes_per_s")  # fmt: skip


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


def add(
    run: Path,
    to: Path,
    name: str = "",
    terms: Terms | None = None,
    dense: str = "int8",
    report: Callable[[str], None] = print,
) -> None:
    """Packs one more finished run into the folder `to` of an earlier call, or replaces the model of its name.

    `name` is that of its file; without it, that of the run. UserError as for `build`, for a name that is no file's, and
    where `to` has no models.
    """
    apart(to, [run])
    if name and (Path(name).name != name or not name.isprintable() or name.upper() == "README"):
        raise UserError(f"--name {name!r}: not the name of a file")
    entries = _entries(to)
    if not entries:
        raise UserError(f"{to}: no models to add one to; make the folder with --default")
    if any(key not in entry for entry in entries for key in ENTRY):
        raise UserError(f"{to / 'index.json'}: changed, or of an earlier version; make the folder with --default")
    facts = read_facts(run)

    def fill(fresh: Path) -> None:
        for entry in entries:
            for file in (entry["file"], Path(entry["file"]).with_suffix(".md").name):
                shutil.copy2(to / file, fresh / file)
        _fill(fresh, {name or facts.name: facts}, terms or Terms(), dense, report, entries)

    write_folder(to, fill, _written_before)


def _fill(
    folder: Path,
    runs: dict[str, Facts],
    terms: Terms,
    dense: str,
    report: Callable[[str], None],
    entries: Sequence[Entry] = (),
) -> None:
    """Packs `runs`; `entries` are those of models that the folder holds already."""
    models = {entry["file"]: entry for entry in entries}
    for name, facts in runs.items():
        file = f"{name}.cpu1"
        size = pack_run(facts.folder, folder / file, dense)
        models[file] = _entry(file, facts, size)
        if sum(entry["bytes"] for entry in models.values()) > LARGEST:
            raise UserError(f"with {facts.folder} the models are over {LARGEST:,} bytes; leave some out")
        write_atomic(folder / f"{name}.md", model_card(facts, terms, file, size, dense, unpacked=False))
        report(f"{file}: {size:,} bytes, {bits(facts)} bits per byte")
    write_atomic(folder / "README.md", _page([_row(entry) for entry in models.values()]))
    write_json(folder / "index.json", {"kind": KIND, "models": list(models.values())})


def _entry(file: str, facts: Facts, size: int) -> Entry:
    speed = facts.speed.bytes_per_s if facts.speed else None
    own = {"file": file, "bytes": size, "corpus": facts.result.corpus.name, "generated_bytes_per_s": speed}
    return {key: own[key] if key in own else to_json(getattr(facts.result, key)) for key in ENTRY}


def _row(entry: Entry) -> str:
    file, speed = entry["file"], entry["generated_bytes_per_s"]
    low, high = entry["bpb_interval"]
    cells = (
        f"[{file}]({Path(file).with_suffix('.md')})",
        f"CPU-1 run_{entry['run']}, {entry['scale']}, {entry['round']}: {entry['title']}",
        f"{entry['params']:,}",
        f"{entry['bytes_seen'] / 1e6:,.1f} MB",
        f"{entry['bpb']:.3f} [{low:.3f}, {high:.3f}] on {entry['corpus']}",
        "not measured" if speed is None else f"{speed:,.0f} bytes",
        f"{entry['bytes'] / 1e3:,.0f} KB",
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


def _entries(to: Path) -> list[Entry]:
    """Those of the index that an earlier call wrote; none where there is no such index."""
    try:
        index = read_json(to / "index.json")
        found = list(index["models"]) if index["kind"] == KIND else []
        return [entry for entry in found if Path(entry["file"]).name == entry["file"]]
    except (UserError, KeyError, TypeError):
        return []


def _written_before(to: Path) -> set[str]:
    """The files of an earlier call, as its index says."""
    files = [Path(entry["file"]) for entry in _entries(to)]
    if not files:
        return set()
    return {"README.md", "index.json", *(name for file in files for name in (file.name, file.with_suffix(".md").name))}
