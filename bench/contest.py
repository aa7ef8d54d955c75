"""Contestants of a race of engines, and our own: models of random weights, timed in turn in one process.

Rates are taken round by round, every second round in reverse, so that whatever else the machine does meets all alike;
ratios are medians of the rounds' own ratios. A gate that deletes is tuned on the random text that is the prompt; of a
few texts drawn, the one with the nearest share of deleted steps is timed.
"""

import statistics
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray

from cpu1.format.packed import pack
from cpu1.model import ladder
from cpu1.model.ingredients.embedding import PATCH
from cpu1.model.lower import lower
from cpu1.model.network import Model, build
from cpu1.runtime.engine import NativeFile
from cpu1.runtime.sampling import Sampler, Sampling
from cpu1.runtime.streams import NativeStream

GENERATED, PROMPT, WARM = 128, 512, 8  # steps; the last untimed
TEXT = np.random.default_rng(0).integers(0, 256, 4 * PROMPT)  # the prompt, and what gates are tuned on
DELETING = 0.3  # the share of steps that the ladder's gates learn to delete
KEEP_ALL = 100.0  # a gate's bias with which it never deletes
SEEDS = 8  # of texts drawn, to find one with the wanted share of deleted steps
LEAST_REPEATS = 5


class Contestant(Protocol):
    """What is timed. `reset` goes back to the start of a document; steps are patches or tokens."""

    def reset(self) -> None: ...
    def generate(self, steps: int) -> None: ...
    def prompt(self, steps: int) -> None: ...


@dataclass(frozen=True)
class Case:
    """A run of the ladder, packed."""

    run: str
    scale: str
    dense: str = "int8"  # width of full-precision matrices
    deleted: float = 0.0  # share of steps that the gate, if there is one, is tuned to delete
    threads: int = 1


class Ours:
    """A model of random weights in our engine."""

    def __init__(self, case: Case, folder: Path) -> None:
        model = randomised(case)
        program, tensors = lower(model)
        path = folder / "ours.cpu1"  # read whole by the engine
        self.file_bytes = pack(program, tensors, path, case.dense, recipe=model.recipe.to_json())
        engine = NativeFile(path)
        self.isa, self._patch = engine.isa, PATCH if engine.words else engine.patch  # as many bytes as others
        self.weight_bytes = engine.model.weight_bytes
        self.products = engine.model.trunk_products + engine.model.head_products  # multiply-adds of a step
        self._session = NativeStream(engine, case.threads)
        self._start = self._session.state
        self._seed, self.deleted = 0, 0.0
        if case.deleted and model.gate is not None:
            shares = {seed: self._deleted(model, seed) for seed in range(SEEDS)}
            self._seed, self.deleted = min(shares.items(), key=lambda item: abs(item[1] - case.deleted))

    def reset(self) -> None:
        self._session.state = self._start

    def generate(self, steps: int) -> None:
        self._draw(steps, self._seed)

    def prompt(self, steps: int) -> None:
        self._session.advance(TEXT[: steps * self._patch])

    def _draw(self, steps: int, seed: int) -> NDArray[np.uint32]:
        """At temperature 1: a random model's best text soon repeats, and with it what its gate decides."""
        sampler = Sampler(Sampling(temperature=1, seed=seed))
        return self._session.generate(steps * self._patch, sampler, may_end=False)

    @torch.inference_mode()
    def _deleted(self, model: Model, seed: int) -> float:
        """The share of steps that the gate deletes in the text of a seed."""
        self.reset()
        text = torch.from_numpy(self._draw(GENERATED, seed).astype(np.int64))
        return float((model(text[None], hard=True).keep == 0).float().mean())


def randomised(case: Case) -> Model:
    """The run's starting weights, its gate tuned on a random text."""
    model = build(ladder.recipe(case.run, case.scale)).eval()
    if model.gate is not None:
        with torch.no_grad():
            model.gate.down_bias.zero_()
            scores = model(torch.from_numpy(TEXT)[None]).keep.logit()
            model.gate.down_bias.fill_(-scores.quantile(case.deleted) if case.deleted else KEEP_ALL)
    return model


@dataclass(frozen=True)
class Rates:
    """Steps a second, one figure a round."""

    generate: list[float]
    prompt: list[float]

    def plain(self) -> dict[str, float]:
        """The medians."""
        return {"generate": statistics.median(self.generate), "prompt": statistics.median(self.prompt)}


def measure(contestants: Mapping[str, Contestant], repeats: int) -> dict[str, Rates]:
    rates = {name: Rates([], []) for name in contestants}
    for number in range(repeats):
        turn = list(contestants.items())
        for name, contestant in reversed(turn) if number % 2 else turn:
            rates[name].generate.append(rate(contestant, contestant.generate, GENERATED))
            rates[name].prompt.append(rate(contestant, contestant.prompt, PROMPT))
    return rates


def rate(contestant: Contestant, work: Callable[[int], None], steps: int) -> float:
    """Steps a second of one piece of work, from the start of a document."""
    contestant.reset()
    work(WARM)
    contestant.reset()
    begun = time.perf_counter()
    work(steps)
    return steps / (time.perf_counter() - begun)


def ratio(over: list[float], under: list[float]) -> float:
    return statistics.median(a / b for a, b in zip(over, under, strict=True))
