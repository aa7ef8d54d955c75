"""From scores to one token: temperature, top-k, top-p, min-p and a seeded draw.

This needs only numpy, so that the runtime can use it. The filters run in the order of Hugging Face transformers'
sampler: temperature, top-k, top-p, min-p, each on the tokens that the one before left. So top-p counts its mass among
the top-k survivors and after the temperature; llama.cpp, by contrast, applies the temperature last.

Shapes: V symbols.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from numbers import Real
from typing import Any, TypedDict

import numpy as np
from numpy.typing import NDArray

from cpu1.errors import UserError


@dataclass(frozen=True)
class Sampling:
    """How a token is drawn. The defaults draw from the whole distribution, slightly sharpened.

    temperature: scores are divided by it; 0 takes the best token (the lowest index among equals)
    top_k: keep the k best; 0 keeps all
    top_p: keep the fewest best tokens that hold this share of the probability (Holtzman et al., arXiv
        1904.09751); 1 keeps all
    min_p: drop tokens below this share of the best one's probability (arXiv 2407.01082); 0 keeps all
    seed: of the sampler's own generator

    Raises UserError for a value outside its range.
    """

    temperature: float = 0.8
    top_k: int = 0
    top_p: float = 1.0
    min_p: float = 0.0
    seed: int = 0

    def __post_init__(self) -> None:
        _require_real("temperature", self.temperature, math.inf)
        _require_integer("top_k", self.top_k)
        _require_real("top_p", self.top_p, 1)
        _require_real("min_p", self.min_p, 1)
        _require_integer("seed", self.seed)


class SamplingOptions(TypedDict, total=False):
    """The fields of `Sampling` as keyword arguments."""

    temperature: float
    top_k: int
    top_p: float
    min_p: float
    seed: int


def sampling_of(options: SamplingOptions) -> Sampling:
    """The setting of some keyword arguments. UserError for one that there is not, and for a value outside its range."""
    known = SamplingOptions.__annotations__
    if unknown := [name for name in options if name not in known]:
        raise UserError(f"there is no argument {unknown[0]!r}; sampling has {', '.join(known)}")
    return Sampling(**options)


class Sampler:
    """Draws tokens from scores; the same seed and the same scores give the same tokens."""

    def __init__(self, sampling: Sampling) -> None:
        self.sampling = sampling
        self._generator = np.random.Generator(np.random.PCG64(sampling.seed))

    def __call__(self, logits: NDArray[np.float32]) -> int:
        """Returns the index of one token, given its unnormalised log-probabilities (V,).

        Raises UserError when a score is not finite.
        """
        if logits.ndim != 1 or logits.size == 0:
            raise ValueError(f"logits must be one non-empty row, not of shape {logits.shape}")
        if not np.isfinite(logits).all():
            bad = np.flatnonzero(~np.isfinite(logits))
            raise UserError(
                f"the model's scores are not finite: {bad.size} of {logits.size}, the first {logits[bad[0]]} "
                f"at index {bad[0]}; training diverged or the model file is damaged: take an earlier one"
            )
        if self.sampling.temperature == 0:
            return int(np.argmax(logits))
        reach = np.cumsum(candidate_weights(logits, self.sampling))
        # A draw is below 1, and its product with the total rounds below the total, so a token of weight
        # zero is never drawn: `reach` first exceeds the product at a token that adds to it.
        draw = self._generator.random() * reach[-1]
        return int(np.searchsorted(reach, draw, side="right"))

    @property
    def state(self) -> dict[str, Any]:
        """The generator's state as plain values that JSON can hold, for `restore`."""
        return dict(self._generator.bit_generator.state)

    def restore(self, state: Mapping[str, Any]) -> None:
        """Continues from a saved `state`. Raises UserError, and changes nothing, when it is not one."""
        bits = np.random.PCG64()
        try:
            bits.state = state  # type: ignore[assignment]  # numpy checks it
        except (TypeError, ValueError, KeyError, OverflowError) as error:
            raise UserError(f"sampler state {state!r} is not that of a PCG64 generator ({error})") from None
        self._generator = np.random.Generator(bits)


def candidate_weights(logits: NDArray[np.float32], sampling: Sampling) -> NDArray[np.float64]:
    """Returns unnormalised probabilities (V,): 1 for the best token, 0 for one that was filtered out.

    The temperature must be above 0. The best token survives every filter.
    """
    scores = logits.astype(np.float64)
    with np.errstate(over="ignore"):  # a tiny temperature sends all but the best to -inf, which is right
        weights = np.exp((scores - scores.max()) / sampling.temperature)
    if sampling.top_k or sampling.top_p < 1:
        # By score, not by weight: a huge temperature makes the weights of different scores equal.
        best_first = np.argsort(-scores, kind="stable")
        if sampling.top_k:
            best_first = best_first[: sampling.top_k]
        if sampling.top_p < 1:
            mass = np.cumsum(weights[best_first])
            best_first = best_first[: np.searchsorted(mass, sampling.top_p * mass[-1]) + 1]
        kept = np.zeros_like(weights)
        kept[best_first] = weights[best_first]
        weights = kept
    weights[weights < sampling.min_p] = 0
    return weights


def _require_real(name: str, value: object, most: float) -> None:
    numeric = isinstance(value, Real) and not isinstance(value, bool)
    if not (numeric and math.isfinite(value) and 0 <= value <= most):  # type: ignore[arg-type, operator]
        limits = "a finite number of 0 or more" if most == math.inf else f"a number from 0 to {most:g}"
        raise UserError(f"{name} is {value!r}; give {limits}")


def _require_integer(name: str, value: Any) -> None:
    if not (is_whole(value) and value >= 0):
        raise UserError(f"{name} is {value!r}; give a whole number of 0 or more")


def whole(name: str, value: Any, least: int, most: int | None = None) -> int:
    """A whole number from `least` to `most`, as Python's. UserError for anything else."""
    if is_whole(value) and least <= value and (most is None or value <= most):
        return int(value)
    limits = f"of {least} or more" if most is None else f"from {least:,} to {most:,}"
    raise UserError(f"{name} is {value!r}; give a whole number {limits}")


def is_whole(value: object) -> bool:
    """Whether this is a whole number, Python's or numpy's; truth values are none."""
    return isinstance(value, int | np.integer) and not isinstance(value, bool)
