"""Checkpoints: one safetensors file each, written atomically; the newest good one is always readable.

A file holds the weights, the optimiser's moments, torch's random state, and in its header the progress.
The data position is the step: the order of the data is a pure function of (seed, step). Tensors are whole, so
that any number of processes may go on; in a group only the leading process reads and writes files.

Shapes: those of the model's weights.
"""

import contextlib
import json
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Literal

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor, nn, optim

from cpu1.errors import UserError
from cpu1.files import spelled, write_atomic
from cpu1.records import Amount, Count, parse, to_json
from cpu1.training.parallel import Group, placed

FORMAT: Final = 1
KEPT = 2  # newest checkpoints kept
NAME: Final = "[0-9]" * 9 + ".safetensors"  # of the files that are ours, by their step


@dataclass
class Progress:
    """What a run has behind it."""

    step: Count = 0
    units: Count = 0
    bytes: Count = 0
    seconds: Amount = 0.0
    nonfinite: Count = 0
    loss_mean: float = 0.0  # exponential mean of the training loss, nats a unit


@dataclass(frozen=True)
class Header:
    """What a checkpoint says of itself, as JSON under "cpu1" in the file's metadata."""

    format: Literal[1]
    identity: str  # of the run: its recipe and settings
    progress: Progress


class Checkpoints:
    """The `checkpoints` folder of a run whose identity (recipe and settings) is `identity`."""

    def __init__(self, folder: Path, identity: str, group: Group) -> None:
        self.folder, self.identity, self.group = folder, identity, group

    def save(self, model: nn.Module, optimizer: optim.Optimizer, progress: Progress) -> Path:
        """Raises UserError when the disk is full; the checkpoint before stays good."""
        path = self.folder / f"{progress.step:09d}.safetensors"
        header = to_json(Header(FORMAT, self.identity, progress))
        tensors = {f"model/{name}": tensor for name, tensor in model.state_dict().items()}
        tensors |= {f"optimizer/{name}": tensor for name, tensor in _moments(model, optimizer).items()}
        tensors = self.group.gather(tensors)
        if not self.group.leads:
            return path
        tensors["random"] = torch.get_rng_state()
        try:
            write_atomic(path, save({k: t.contiguous() for k, t in tensors.items()}, {"cpu1": json.dumps(header)}))
        except OSError as error:
            raise UserError(f"{path}: checkpoint not written ({error.strerror}); the one before it is good") from None
        for old in (*self._paths()[KEPT:], *self._halves()):
            old.unlink(missing_ok=True)
        return path

    def resume(self, model: nn.Module, optimizer: optim.Optimizer) -> Progress:
        """Loads the newest readable checkpoint, if any, into model and optimiser; returns the progress.

        Raises UserError when checkpoints of another run lie in the folder, or none of them is readable.
        """
        progress, tensors = self._newest() if self.group.leads else (None, {})
        progress = self.group.first(progress)
        if progress is None:
            return Progress()
        _restore(self.folder, model, optimizer, self.group.spread(tensors))
        return progress

    def _newest(self) -> tuple[Progress | None, dict[str, Tensor]]:
        """The newest readable checkpoint; None and nothing if there is none."""
        damage = []
        for path in self._paths():
            try:
                with spelled(path) as name, safe_open(name, "pt") as file:
                    header = json.loads((file.metadata() or {}).get("cpu1", "null"))
                    tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
            except (SafetensorError, ValueError, OSError) as error:
                damage.append(f"{path}: {error}")
                continue
            return self._checked(path, header).progress, tensors
        if damage:
            raise UserError("no readable checkpoint; remove the folder to start again:\n" + "\n".join(damage))
        return None, {}

    def clear(self) -> None:
        """Deletes all checkpoints of the run, and the folder unless something else lies in it."""
        for path in (*self._paths(), *self._halves()):
            path.unlink(missing_ok=True)
        with contextlib.suppress(OSError):
            self.folder.rmdir()

    def _paths(self) -> list[Path]:
        return sorted(self.folder.glob(NAME), reverse=True)

    def _halves(self) -> list[Path]:
        """What a killed process left half-written."""
        return list(self.folder.glob(f".{NAME}.*"))

    def _checked(self, path: Path, value: Any) -> Header:
        header = parse(Header, value, str(path), "not a checkpoint of this version of cpu1")
        if header.identity != self.identity:
            raise UserError(f"{path}: belongs to another recipe or other settings; choose another folder")
        return header


def _moments(model: nn.Module, optimizer: optim.Optimizer) -> dict[str, Tensor]:
    """The optimiser's state by parameter name, so that a file can be read without knowing the groups."""
    return {
        f"{name}/{key}": value
        for name, parameter in model.named_parameters()
        for key, value in optimizer.state.get(parameter, {}).items()
    }


def _restore(folder: Path, model: nn.Module, optimizer: optim.Optimizer, tensors: Iterable[tuple[str, Tensor]]) -> None:
    own, weights = model.state_dict(), {}
    parameters = dict(model.named_parameters())
    for name, tensor in tensors:
        kind, _, place = name.partition("/")
        if kind == "model":
            weights[place] = placed(tensor, own.get(place, tensor))
        elif kind == "optimizer":
            owner, _, key = place.rpartition("/")
            optimizer.state[parameters[owner]][key] = placed(tensor, parameters[owner])
        else:
            torch.set_rng_state(tensor.cpu())
    try:
        model.load_state_dict(weights)
    except RuntimeError as error:
        raise UserError(f"{folder}: weights do not fit the recipe ({error})") from None
