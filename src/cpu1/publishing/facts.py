"""What a run folder knows of its model, checked once, for cards and configurations."""

import dataclasses
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cpu1.errors import UserError
from cpu1.files import read_json
from cpu1.runs.folders import HELD_OUT
from cpu1.training.settings import Settings

NEEDED = {
    "result.json": ("run", "title", "level", "scale", "round", "seed", "params", "units_seen", "bytes_seen",
                    "tok_per_param", "corpus", "bpb", "bpb_interval", "frequency_bpb", "gate", "generation", "train"),
    "settings.json": ("data", "data_source", "data_sha256", "steps", "batch", "window", "rate", "precision", "teacher"),
    "env.json": ("cpu1", "torch", "processor", "threads"),
    "recipe.json": ("width", "layers"),
}  # fmt: skip
LANGUAGE_FILE = "language.json"  # the output of `cpu1 check`
LANGUAGE = re.compile(r"[a-z]{2,3}(-[A-Za-z0-9]+)*|code|multilingual")


@dataclass(frozen=True)
class Facts:
    """The JSON files of a finished run folder."""

    folder: Path
    result: dict[str, Any]
    settings: dict[str, Any]
    env: dict[str, Any]
    recipe: dict[str, Any]
    # where they were measured: generation speed; bits per byte of other texts; `cpu1 check`
    speed: dict[str, Any]
    held_out: dict[str, Any]
    language: dict[str, Any]

    @property
    def name(self) -> str:
        """Like that of the run's folder in a study."""
        return "{run}-{scale}-{round}-s{seed}".format(**self.result)


@dataclass(frozen=True)
class Terms:
    """What no run folder knows: under which licence the model may be used, and what its text is.

    language: ISO 639 codes; datasets: names on the Hugging Face hub; about_text: Markdown
    """

    license: str = "apache-2.0"
    language: tuple[str, ...] = ()
    datasets: tuple[str, ...] = ()
    about_text: str = ""

    def __post_init__(self) -> None:
        for code in self.language:
            if not LANGUAGE.fullmatch(code):
                raise UserError(f"language {code!r} is no ISO 639 code like en or es")


def read_facts(folder: Path) -> Facts:
    """UserError naming what is missing: an unfinished run, or a folder that is none."""
    if not folder.is_dir():
        raise UserError(f"{folder}: no such run folder")
    if not (folder / "result.json").exists():
        raise UserError(f"{folder}: no result.json; only a finished run can be published")
    found: dict[str, dict[str, Any]] = {}
    for file, names in NEEDED.items():
        values = found[file] = read_json(folder / file)
        missing = [name for name in names if not isinstance(values, dict) or name not in values]
        if missing:
            raise UserError(f"{folder / file}: no {missing[0]!r}; was the folder written by cpu1?")
    return Facts(
        folder=folder,
        result=found["result.json"],
        settings=dataclasses.asdict(Settings.read(folder / "settings.json")),  # what is at its default is not written
        env=found["env.json"],
        recipe=found["recipe.json"],
        speed=_measured(folder / "speed.json"),
        held_out=_measured(folder / HELD_OUT),
        language=_measured(folder / LANGUAGE_FILE),
    )


def _measured(path: Path) -> dict[str, Any]:
    found = read_json(path) if path.exists() else {}
    if not isinstance(found, dict):
        raise UserError(f"{path}: not an object; was it written by cpu1?")
    return found
