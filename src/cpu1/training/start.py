"""Weights to start from: those of a finished run, of an unpacked model, or of a packed file.

A run that starts from weights keeps their recipe and, if it reads tokens, their tokenizer; its budget, rate and text
are its own, and the optimiser begins afresh with a warm-up.

Shapes: those of the model's weights.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from cpu1.data.bpe import Tokenizer
from cpu1.errors import UserError
from cpu1.files import digest, read_json
from cpu1.format.packed import UNPACKED, open_packed
from cpu1.model import ladder
from cpu1.model.network import Model
from cpu1.model.recipe import Recipe, differences
from cpu1.runs.settings import Settings
from cpu1.runs.trained import Trained, from_packed, load

TUNED = "tuned"  # the round of runs that start from weights
RATE_SHARE = 1 / 3  # of the scale's peak rate, for runs that start from weights: see docs/fine-tuning.md


@dataclass(frozen=True)
class Start:
    """What a run starts from. `weights` are None for a run that has a checkpoint already."""

    path: Path
    content: str  # the first 16 digits of the SHA-256 of the file with the weights
    run: str  # of the ladder
    scale: str
    recipe: Recipe
    tokenizer: Tokenizer | None
    weights: dict[str, Tensor] | None  # fp32, by name

    def check(self, run: str | None, scale: str | None) -> None:
        """UserError where a run or a scale of the ladder was asked for that is another model."""
        if scale not in (None, self.scale):
            raise UserError(f"--scale {scale}: the weights of {self.path} are of scale {self.scale}; leave it out")
        name = ladder.find(run).run if run else self.run
        if name == self.run:
            return
        named = ladder.recipe(name, self.scale).replace(distill=None)
        if unlike := differences(named, self.recipe.replace(distill=None)):
            raise UserError(
                f"{self.path}: run {self.run}, and run {name} differs from it in {', '.join(unlike)}; leave the run out"
            )


@dataclass(frozen=True)
class Source:
    """A model that a run can start from."""

    trained: Trained
    about: dict[str, Any]  # what is known of its run
    file: Path  # with the weights


def open_source(path: Path) -> Source:
    """The model of a run folder, an unpacked one or a packed file; UserError when it is not there or damaged."""
    if not path.exists():
        raise UserError(f"{path}: no such run folder or packed file to start from")
    return _open_folder(path) if path.is_dir() else _open_file(path)


def open_start(path: Path) -> Start:
    """The weights of what `path` names; UserError when they are not there, damaged or of no run of the ladder."""
    source = open_source(path)
    trained, about = source.trained, source.about
    run, scale = str(about.get("run", "")), str(about.get("scale", ""))
    if run not in ladder.LADDER or scale not in (*ladder.SCALES, *ladder.ORIGINAL):
        raise UserError(
            f"{path}: its run {run!r} at scale {scale!r} is not of the ladder, so nothing says how to train it"
        )
    weights = {name: tensor.detach().clone() for name, tensor in trained.model.state_dict().items()}
    return Start(path, digest(source.file).hex()[:16], run, scale, trained.recipe, trained.tokenizer, weights)


def _open_folder(path: Path) -> Source:
    trained = load(path)
    unpacked = path / UNPACKED
    about = read_json(unpacked) if unpacked.exists() else vars(Settings.read(path / "settings.json"))
    return Source(trained, about if isinstance(about, dict) else {}, path / "model.safetensors")


def _open_file(path: Path) -> Source:
    try:
        packed = open_packed(path)
    except ValueError as error:
        raise UserError(str(error)) from None
    return Source(from_packed(packed, path), packed.run, path)


def reopen_start(folder: Path, settings: Settings) -> Start:
    """What is left to know of the start of a run that has a checkpoint in `folder`: its weights are not needed."""
    recipe = Recipe.from_json(read_json(folder / "recipe.json"), str(folder / "recipe.json"))
    tokenizer = Tokenizer.load(folder / "tokenizer.json") if recipe.level == "token" else None
    assert settings.start is not None
    return Start(folder, settings.start, settings.run, settings.scale, recipe, tokenizer, None)


def fitting(start: Start, recipe: Recipe) -> dict[str, Tensor] | None:
    """The weights for a model of `recipe`, but for what only a teacher needs; UserError where they do not fit."""
    if start.weights is None:
        return None
    with torch.device("meta"):
        wanted = {name: tensor.shape for name, tensor in Model(recipe).state_dict().items()}
    found = {name: tensor for name, tensor in start.weights.items() if not name.startswith("distill.")}
    for name in sorted(set(wanted) ^ set(found)):
        if not name.startswith("distill."):
            there = "no" if name in wanted else "a"
            raise UserError(f"{start.path}: has {there} tensor {name}, unlike the recipe as changed by --with")
    for name, tensor in found.items():
        if tensor.shape != wanted[name]:
            shapes = f"{list(tensor.shape)}, the recipe as changed by --with {list(wanted[name])}"
            raise UserError(f"{start.path}: {name} has shape {shapes}")
    return found
