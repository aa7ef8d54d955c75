"""What a run folder knows of its model, checked once, for cards and configurations."""

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cpu1.errors import UserError
from cpu1.runs.folders import load_run
from cpu1.runs.result import Environment, HeldOut, Result, Speed
from cpu1.runs.settings import Settings

LANGUAGE = re.compile(r"[a-z]{2,3}(-[A-Za-z0-9]+)*|code|multilingual")


@dataclass(frozen=True)
class Facts:
    """The records of a finished run folder."""

    folder: Path
    name: str  # like that of the run's folder in a study
    result: Result
    settings: Settings
    env: Environment
    recipe: dict[str, Any]  # as in recipe.json
    # where they were measured: generation speed; bits per byte of other texts; `cpu1 check`
    speed: Speed | None
    held_out: dict[str, HeldOut]
    language: dict[str, Any]


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
    run = load_run(folder)
    if run.result is None or run.settings is None or run.env is None or run.recipe is None:
        missing = next(name for name in ("settings", "env", "recipe") if getattr(run, name) is None)
        raise UserError(f"{folder}: no {missing}.json; was the folder written by cpu1?")
    parts = (run.result, run.settings, run.env, run.recipe, run.speed, run.held_out, run.language or {})
    return Facts(folder, run.key.folder, *parts)
