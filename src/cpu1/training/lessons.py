"""Teachers of a training run: a model that reads along, or a cache of what one said (`cpu1 teach`).

Either gives a lesson for the windows of a step, and a lesson makes the loss; see `ingredients.distillation`.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from cpu1.data.corpus import Corpus
from cpu1.errors import UserError
from cpu1.model.ingredients import HiddenDistillation
from cpu1.model.ingredients.distillation import HiddenProjection, divergence, fixed_projection, likeliest_divergence
from cpu1.model.network import Model, Output
from cpu1.model.recipe import Recipe
from cpu1.runs.settings import Settings
from cpu1.runs.trained import load
from cpu1.teachers.cache import HIDDEN, Cache


@dataclass(frozen=True)
class Lesson:
    """What a teacher says about the windows of a step, and how much that counts."""

    settings: Settings
    divergence: Callable[[Tensor, float], Tensor]  # of a student's logits (B, N, V) at a temperature, nats a unit
    target: Tensor | None  # (B, T, P): where the projection of the student's s should lead
    found: Tensor | None = None  # (B, T): whether it should lead anywhere; None: everywhere

    def loss(
        self, own: Tensor, output: Output, projection: HiddenProjection | None, mean: Callable[[Tensor], Tensor]
    ) -> Tensor:
        """own: the student's cross-entropy, nats a unit -> what to minimise; `mean` is over the processes."""
        alpha, temperature = self.settings.alpha, self.settings.temperature
        taught = self.divergence(output.logits, temperature)
        loss = (1 - alpha) * own + alpha * temperature**2 * taught
        if projection is not None and self.target is not None:
            loss = loss + self.settings.beta * projection(output.s, self.target, self.found, mean)
        return loss


Teacher = Callable[[Tensor, NDArray[np.int64]], Lesson]
"""Windows of units (B, N), and where in the stream they begin (B,) -> the lesson."""


@dataclass(frozen=True)
class ModelTeacher:
    """A trained model of ours, which reads what its student reads. Its vector s before a patch teaches the same s."""

    model: Model
    settings: Settings  # of which alpha, temperature and beta count
    size: int = 0  # of the projected vectors; 0: they do not teach

    def __call__(self, units: Tensor, places: NDArray[np.int64]) -> Lesson:
        with torch.no_grad():
            taught = self.model(units)
            target = taught.s @ fixed_projection(taught.s.shape[-1], self.size).to(taught.s) if self.size else None
        return Lesson(self.settings, partial(divergence, taught.logits), target)


@dataclass(frozen=True)
class CacheTeacher:
    """What `cpu1 teach` kept. A token's vector teaches the s that has read the patch with its last byte."""

    cache: Cache
    settings: Settings
    patch: int
    hidden: bool  # whether vectors teach

    def __call__(self, units: Tensor, places: NDArray[np.int64]) -> Lesson:
        length = units.shape[1]
        ids, shares = self._stack(self.cache.window(int(place), length) for place in places)
        likeliest, told = ids.flatten(0, 1).to(units.device, torch.int64), shares.flatten(0, 1).to(units.device)
        target = found = None
        if self.hidden:
            target, found = self._stack(self._vectors(int(place), length) for place in places)
            target, found = target.to(units.device), found.to(units.device)
        return Lesson(self.settings, partial(likeliest_divergence, likeliest, told), target, found)

    def _vectors(self, place: int, length: int) -> tuple[NDArray[Any], ...]:
        """The s of step t predicts patch t, so that it has read the patch before."""
        vectors, found = self.cache.hidden(place, length, self.patch)
        return np.concatenate((np.zeros_like(vectors[:1]), vectors[:-1])), np.append(False, found[:-1])

    @staticmethod
    def _stack(rows: Any) -> tuple[Tensor, ...]:
        return tuple(torch.from_numpy(np.stack(parts)) for parts in zip(*rows, strict=True))


def open_teacher(
    run: Path | None, cache: Path | None, recipe: Recipe, corpus: Corpus, settings: Settings, device: torch.device
) -> Teacher | None:
    """The teacher of a training run: another run's folder, or a cache; None where there is neither, or where the
    recipe does not say how to learn from a run. UserError for one that is not there or cannot teach.
    """
    size = projection_size(recipe)
    if cache is not None:
        return CacheTeacher(open_cache(cache, recipe, corpus), settings, recipe.embedding.patch, hidden=size > 0)
    if run is None or recipe.distill is None:
        return None
    trained = load(run, device)
    if trained.recipe.level != "byte":
        raise UserError(f"{run}: the teacher reads tokens; a byte-level run is needed")
    return ModelTeacher(trained.model, settings, size)


def open_cache(folder: Path, recipe: Recipe, corpus: Corpus) -> Cache:
    """UserError for a cache that is not of this text, or a run that cannot learn from it."""
    if recipe.level == "token":
        raise UserError("--teacher-cache: the cache is of bytes, and this run reads tokens; take a byte-level run")
    if (size := projection_size(recipe)) not in (0, HIDDEN):
        raise UserError(f"--with distill.projection={size}: a cache keeps vectors of {HIDDEN} values")
    cache = Cache(folder)
    cache.check(corpus)
    return cache


def projection_size(recipe: Recipe) -> int:
    return recipe.distill.projection if isinstance(recipe.distill, HiddenDistillation) else 0
