"""Models of every run, lowered and packed, for the tests of the runtime."""

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from cpu1.data.bpe import FORMAT
from cpu1.format.packed import Packed, open_packed, pack
from cpu1.model import ladder
from cpu1.model.lower import lower
from cpu1.model.network import Model, build
from cpu1.model.recipe import Recipe


def randomised(recipe: Recipe, seed: int = 1) -> Model:
    """Every tensor random, so that nothing is hidden behind a zero or a one; about half of the steps deleted."""
    model = build(recipe, seed)
    generator = torch.Generator().manual_seed(seed + 1)
    with torch.no_grad():
        for name, tensor in model.named_parameters():
            if name.endswith(("gain", "theta")):
                tensor.add_(torch.randn(tensor.shape, generator=generator) / 4)
            elif tensor.abs().max() == 0 or name.endswith("residual.scale"):
                tensor.normal_(std=0.3, generator=generator)
        if model.gate is not None:
            model.gate.down_bias.fill_(0.0)
            model.gate.pressure.fill_(0.25)
    return model.eval()


@dataclass
class Pair:
    """A model in torch, and packed."""

    model: Model
    packed: Packed
    path: Path


def tokenizer(vocabulary: int) -> bytes:
    """The bytes of a tokenizer file: all bytes, no merges."""
    return json.dumps({"format": FORMAT, "vocabulary": vocabulary, "merges": []}).encode()


def pack_model(model: Model, path: Path, dense: str = "fp32") -> Pair:
    program, tensors = lower(model)
    words = tokenizer(program.vocabulary) if program.level == "token" else None
    recipe = model.recipe.replace(distill=None).to_json()
    pack(program, tensors, path, dense, recipe=recipe, run={"run": "test"}, tokenizer=words)
    return Pair(model, open_packed(path), path)


def packed_run(run: str, folder: Path, dense: str = "fp32") -> Pair:
    """A run of the ladder at demo scale."""
    return pack_model(randomised(ladder.recipe(run, "demo")), folder / f"{run}-{dense}.cpu1", dense)


def some_units(pair: Pair, count: int, seed: int = 3) -> NDArray[np.int64]:
    return np.random.default_rng(seed).integers(1, pair.packed.program.vocabulary, count)
