"""A run folder: what training writes and everything else reads.

recipe.json  settings.json  env.json  metrics.jsonl  checkpoints/     while it runs
model.safetensors  [tokenizer.json]  result.json  documents.json      when it is done
unpacked.json                                                         instead of a result: made of a packed file
error.json                                                            when a guard or bad input ended it
"""

import json
import os
import platform
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save

from cpu1.data.bpe import Tokenizer
from cpu1.errors import UserError
from cpu1.files import read_json, spelled, write_atomic
from cpu1.format.packed import Packed, unpacked_weights
from cpu1.model.network import Model
from cpu1.model.recipe import Recipe
from cpu1.runs.result import Environment
from cpu1.runtime.processor import processor

EACH = ("step", "bytes", "seconds")  # figures that every line of metrics has


@dataclass
class Trained:
    """A model ready for use, in evaluation mode, with its tokenizer if it reads tokens."""

    model: Model
    recipe: Recipe
    tokenizer: Tokenizer | None
    folder: Path  # or the packed file

    def encode(self, text: bytes) -> torch.Tensor:
        """Bytes to units (1, N), int64, on the model's device."""
        import numpy as np

        units = self.tokenizer.encode(text) if self.tokenizer else np.frombuffer(text, np.uint8)
        device = next(self.model.parameters()).device
        return torch.from_numpy(units.astype(np.int64))[None].to(device)

    def decode(self, unit: int) -> bytes:
        """One unit to its bytes."""
        return self.tokenizer.token_bytes[unit] if self.tokenizer else bytes((unit,))


def save_weights(model: Model, path: Path) -> None:
    """All tensors in fp32, "unpacked" as the original card published them; the header holds the recipe."""
    tensors = {name: tensor.contiguous() for name, tensor in model.state_dict().items()}
    write_atomic(path, save(tensors, {"cpu1": json.dumps(model.recipe.to_json())}))


def load(folder: str | Path, device: torch.device | str = "cpu") -> Trained:
    """The trained model of a run folder on a device; UserError when it is unfinished, damaged or of another version."""
    folder = Path(folder)
    weights = folder / "model.safetensors"
    if not folder.is_dir():
        raise UserError(f"{folder}: no such run folder; train one with `cpu1 train RUN --out {folder}`")
    if not weights.exists():
        raise UserError(f"{folder}: no model.safetensors; the run is unfinished, start it again to go on")
    recipe = Recipe.from_json(read_json(folder / "recipe.json"), str(folder / "recipe.json"))
    model = Model(recipe)
    try:
        with spelled(weights) as name:
            model.load_state_dict(load_file(name))
    except (SafetensorError, RuntimeError, OSError) as error:
        raise UserError(f"{weights}: damaged, or not of this recipe ({error})") from None
    tokenizer = Tokenizer.load(folder / "tokenizer.json") if recipe.level == "token" else None
    return Trained(model.eval().to(device), recipe, tokenizer, folder)


def from_packed(packed: Packed, path: Path) -> Trained:
    """The model of a packed file in torch, with weights that give what the file gives; UserError where it has none."""
    recipe = Recipe.from_json(packed.recipe, str(path))
    model = Model(recipe)
    try:
        weights = {name: torch.from_numpy(value) for name, value in unpacked_weights(packed).items()}
        model.load_state_dict(weights)
        tokenizer = Tokenizer.parse(packed.tokenizer) if packed.tokenizer is not None else None
    except (RuntimeError, ValueError) as error:
        raise UserError(f"{path}: its weights do not fit its recipe ({error})") from None
    return Trained(model.eval(), recipe, tokenizer, path)


class Metrics:
    """`metrics.jsonl`: one object a line, appended; lines after a resumed step are dropped."""

    def __init__(self, path: Path, step: int) -> None:
        kept = [line for line in self.read(path) if line["step"] <= step]
        write_atomic(path, "".join(json.dumps(line) + "\n" for line in kept))
        self.file = path.open("a", encoding="utf-8")

    def write(self, **values: Any) -> None:
        """Appends a line, which is on disk when this returns to the operating system."""
        self.file.write(json.dumps(values) + "\n")
        self.file.flush()

    @staticmethod
    def read(path: Path) -> Iterator[dict[str, Any]]:
        """The whole lines of a metrics file. UserError for damage, but not for a last line that a crash cut short."""
        if not path.exists():
            return
        try:
            *lines, last = path.read_bytes().split(b"\n")
        except OSError as error:
            raise UserError(f"{path}: not readable ({error.strerror})") from None
        for number, text in enumerate([*lines, last] if _figures(last) else lines, 1):
            line = _figures(text)
            if line is None:
                raise UserError(f"{path}: line {number} is damaged; remove this line to go on without it")
            yield line


def _figures(text: bytes) -> dict[str, Any] | None:
    """The figures of a line of metrics; None where it is something else."""
    try:
        line = json.loads(text)  # not strictly: a loss that is not finite is a figure too
    except (ValueError, RecursionError):
        return None
    if not isinstance(line, dict) or any(not isinstance(line.get(name), int | float) for name in EACH):
        return None
    return line if all(value is None or isinstance(value, int | float) for value in line.values()) else None


def environment(device: torch.device, processes: int) -> Environment:
    """What a result depends on beside recipe and settings."""
    return Environment(
        cpu1=_version(),
        python=platform.python_version(),
        torch=torch.__version__,
        platform=platform.platform(),
        processor=processor(),
        cores=os.cpu_count(),
        device=torch.cuda.get_device_name(device) if device.type == "cuda" else "cpu",
        processes=processes,
        threads=torch.get_num_threads(),
        cpu_capability=torch.backends.cpu.get_cpu_capability(),
    )


def _version() -> str | None:
    """Of the installation; None where there is none and the source is imported as it lies."""
    from importlib.metadata import PackageNotFoundError, version

    try:
        return version("cpu1")
    except PackageNotFoundError:
        return None
