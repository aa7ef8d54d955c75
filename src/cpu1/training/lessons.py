"""Teachers of a training run: a model that reads the same windows, or a cache (`cpu1 teach`).

Either gives a lesson for the windows of a step, and the lesson computes the loss; see `ingredients.distillation`.

Shapes: B windows, T steps of the trunk, N units of a window, D width, V symbols, P values of a projected vector.
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
from cpu1.format.tokens import SEPARATOR
from cpu1.model.ingredients import HiddenDistillation
from cpu1.model.ingredients.distillation import HiddenProjection, divergence, fixed_projection, likeliest_divergence
from cpu1.model.network import Model, Output
from cpu1.model.recipe import Recipe
from cpu1.runs.settings import Settings
from cpu1.runs.trained import load
from cpu1.teachers.cache import HIDDEN, Cache


@dataclass(frozen=True)
class StepLesson:
    """A teacher's predictions of the windows of a step, and the settings that weigh them."""

    settings: Settings
    divergence: Callable[[Tensor, float], Tensor]  # of a student's logits (B, N, V) at a temperature, nats a unit
    target: Tensor | None  # (B, T, P): the target of the student's projected s; None: only predictions teach
    mask: Tensor | None = None  # (B, T): which steps have a target; None: all

    def loss(
        self, own: Tensor, output: Output, projection: HiddenProjection | None, mean: Callable[[Tensor], Tensor]
    ) -> Tensor:
        """The loss to minimise, in nats a unit, from the student's cross-entropy `own`, its output and its projection.

        `mean` takes the mean over the processes.
        """
        alpha, temperature = self.settings.alpha, self.settings.temperature
        taught = self.divergence(output.logits, temperature)
        loss = (1 - alpha) * own + alpha * temperature**2 * taught
        if projection is not None and self.target is not None:
            loss = loss + self.settings.beta * projection(output.s, self.target, self.mask, mean)
        return loss


StepTeacher = Callable[[Tensor, NDArray[np.int64]], StepLesson]
"""Windows of units (B, N), and their starts in the stream (B,) -> the lesson."""


@dataclass(frozen=True)
class ModelTeacher:
    """A trained model of this project, which reads its student's windows. Its s is the target of the student's s."""

    model: Model
    settings: Settings  # of which alpha, temperature and beta count
    size: int = 0  # of the projected vectors; 0: they do not teach

    def __call__(self, units: Tensor, starts: NDArray[np.int64]) -> StepLesson:
        with torch.no_grad():
            taught = self.model(units)
            target = taught.s @ fixed_projection(taught.s.shape[-1], self.size).to(taught.s) if self.size else None
        return StepLesson(self.settings, partial(divergence, taught.logits), target)


@dataclass(frozen=True)
class CacheTeacher:
    """A cache of `cpu1 teach`. A token's vector is the target of the s that has read the patch with its last byte."""

    cache: Cache
    settings: Settings
    patch: int
    hidden: bool  # whether vectors teach
    separator: int = SEPARATOR  # of the student; a cache has the end of a document as NUL

    def __call__(self, units: Tensor, starts: NDArray[np.int64]) -> StepLesson:
        length = units.shape[1]
        ids, probabilities = self._stack(self.cache.window(int(start), length) for start in starts)
        likeliest = ids.flatten(0, 1).to(units.device, torch.int64)
        likeliest = likeliest.masked_fill(likeliest == SEPARATOR, self.separator)
        shares = probabilities.flatten(0, 1).to(units.device)
        target = mask = None
        if self.hidden:
            target, mask = self._stack(self._vectors(int(start), length) for start in starts)
            target, mask = target.to(units.device), mask.to(units.device)
        return StepLesson(self.settings, partial(likeliest_divergence, likeliest, shares), target, mask)

    def _vectors(self, start: int, length: int) -> tuple[NDArray[Any], ...]:
        """Targets (T, P) of a window and their mask (T,): the s of step t has read the patch before, not patch t."""
        vectors, mask = self.cache.hidden(start, length, self.patch)
        return np.concatenate((np.zeros_like(vectors[:1]), vectors[:-1])), np.append(False, mask[:-1])

    @staticmethod
    def _stack(rows: Any) -> tuple[Tensor, ...]:
        return tuple(torch.from_numpy(np.stack(parts)) for parts in zip(*rows, strict=True))


def open_teacher(
    run: Path | None, cache: Path | None, recipe: Recipe, corpus: Corpus, settings: Settings, device: torch.device
) -> StepTeacher | None:
    """The teacher of a training run: another run's folder, or a cache; None where there is neither, or where the
    recipe does not say how to learn from a run. UserError for one that is not there or cannot teach.
    """
    size = projection_size(recipe)
    if cache is not None:
        held = open_cache(cache, recipe, corpus)
        return CacheTeacher(held, settings, recipe.embedding.patch, hidden=size > 0, separator=recipe.separator)
    if run is None or recipe.distill is None:
        return None
    trained = load(run, device)
    if trained.recipe.level != "byte":
        raise UserError(f"{run}: the teacher reads tokens; a byte-level run is needed")
    if trained.recipe.separator != recipe.separator:
        raise UserError(f"{run}: the teacher takes NUL for the end of a document, its student does not; train it again")
    return ModelTeacher(trained.model, settings, size)


def open_cache(folder: Path, recipe: Recipe, corpus: Corpus) -> Cache:
    """The cache in `folder`. UserError for one that is not of this text, and for a run that cannot learn from it."""
    if recipe.level == "token":
        raise UserError("--teacher-cache: the cache is of bytes, and this run reads tokens; take a byte-level run")
    if (size := projection_size(recipe)) not in (0, HIDDEN):
        raise UserError(f"--with distill.projection={size}: a cache keeps vectors of {HIDDEN} values")
    cache = Cache(folder)
    cache.check(corpus)
    return cache


def projection_size(recipe: Recipe) -> int:
    """The size P of a teacher's projected vectors for a recipe; 0 where it does not learn from them."""
    return recipe.distill.projection if isinstance(recipe.distill, HiddenDistillation) else 0
