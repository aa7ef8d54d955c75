"""Steps that the host hands to a GPU without waiting for them; what they compute is that of `step`.

The text lies on the device. What changes from step to step (places of the windows, rates, the gate's phase) is copied
there as one tensor. Losses and norms stay there until they are asked for, and a step that is not finite is skipped
there: the host asks nothing of the device, and runs ahead. After a few steps a whole one is captured as a CUDA graph
and replayed, so that its kernels cost the host one call. CPU1_GRAPHS=0 leaves that out, and so does a failed capture.

Shapes: B windows, N units in one.
"""

import math
import os
import warnings
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn, optim

from cpu1.model.ingredients.lookups import set_sparse
from cpu1.model.network import Model
from cpu1.runs.settings import Settings
from cpu1.training.lessons import StepTeacher
from cpu1.training.optim import Rows, decays_at, parts_of, rates_at, values_of
from cpu1.training.parallel import Group
from cpu1.training.step import Step, losses, set_phase

WARM = 3  # steps of a phase before a capture: kernels are loaded, and forms of them chosen, in the first
ROWS = 1024  # steps whose figures the device keeps at most
GRAPHS = os.environ.get("CPU1_GRAPHS", "1") != "0"


def suits(model: Model, optimizer: optim.Optimizer, teacher: StepTeacher | None, group: Group) -> bool:
    """Whether a run can be trained this way: by one process on a GPU, with AdamW, patches of four and no teacher."""
    return (
        group.device.type == "cuda"
        and group.ranks.world == 1
        and all(isinstance(part, optim.AdamW | Rows) for part in parts_of(optimizer))
        and teacher is None
        and not model.cuts  # where patches end is computed on the host
    )


class Ahead:
    """The steps of one run."""

    def __init__(
        self,
        replica: nn.Module,
        model: Model,
        optimizer: optim.Optimizer,
        text: NDArray[Any],
        settings: Settings,
        group: Group,
        lookups: Sequence[Any] = (),
        graphs: bool = GRAPHS,
    ) -> None:
        """replica: the model, or what is called instead of it; text: all units, in any integer type; lookups: what
        the text finds for each of the model's (`lookups.text`).
        """
        self.replica, self.model, self.optimizer, self.settings, self.group = replica, model, optimizer, settings, group
        device = group.device
        whole = text.astype(np.int32) if text.dtype == np.uint16 else text  # torch lacks some of that type's operations
        self.text, self.offsets = torch.from_numpy(whole).to(device), torch.arange(settings.window, device=device)
        set_sparse(model, False)  # a device would wait to count the rows that were read
        self.found = [torch.from_numpy(lookup.whole()).to(device) for lookup in lookups]
        self.groups = optimizer.param_groups
        cuda = device.type == "cuda"
        self.rates = torch.zeros(len(self.groups), dtype=torch.float32 if cuda else torch.float64, device=device)
        for place, each in enumerate(self.groups):
            each.update(lr=self.rates[place], capturable=cuda)
        # rates, the gate's ramp and turn, places
        self.inputs = torch.zeros(len(self.groups) + 2 + settings.batch, dtype=torch.float64, device=device)
        self.now, self.rows, self.count = torch.zeros(3, device=device), torch.zeros(ROWS, 3, device=device), 0
        self.stream = torch.cuda.Stream(group.device) if cuda else None
        self.graphs, self.taken = graphs and cuda, 0  # steps of this phase
        self.graph: torch.cuda.CUDAGraph | None = None
        self.phase: tuple[Any, ...] = ()

    def take(self, places: NDArray[np.int64], number: int, wait: bool = False) -> list[Step]:
        """Hands over the step `number` on the windows at `places` (B,); with `wait`, what `figures` returns."""
        with self._beside():
            if (phase := self._prepare(places, number)) != self.phase:
                self.phase, self.taken, self.graph = phase, 0, None
            if self.graph is None and self.graphs and self.taken >= WARM:
                self.graph = self._capture()
            if self.graph is not None:
                self.graph.replay()
            else:
                self._step()
            self.taken += 1
            self.rows[self.count].copy_(self.now)
            self.count += 1
        if self.stream is not None:  # whoever looks at the weights sees this step done
            torch.cuda.current_stream(self.group.device).wait_stream(self.stream)
        return self.figures() if wait or self.count == ROWS else []

    def figures(self) -> list[Step]:
        """Of the steps since the last call, in order; waits until the device has done them."""
        with self._beside():
            rows = self.rows[: self.count].tolist()
        self.count = 0
        gated = self.model.gate is not None
        return [
            Step(nats, norm, deleted if gated else None, math.isfinite(norm) and math.isfinite(nats))
            for nats, norm, deleted in rows
        ]

    def _beside(self) -> AbstractContextManager[object]:
        """A stream of its own for all steps: gradients of a captured one must not have been made on another."""
        if self.stream is None:
            return nullcontext()
        self.stream.wait_stream(torch.cuda.current_stream(self.group.device))
        return torch.cuda.stream(self.stream)

    def _prepare(self, places: NDArray[np.int64], number: int) -> tuple[Any, ...]:
        """Copies what this step is told; returns what of it a graph cannot be told, its phase."""
        set_phase(self.model, self.settings, number)
        gate = self.model.gate
        ramp, turn = (gate.ramp, number) if gate is not None else (0.0, 0)
        rates = rates_at(self.optimizer, self.settings, number)
        inputs = torch.from_numpy(np.concatenate((rates, (ramp, turn), places)))
        self.inputs.copy_(inputs.pin_memory() if self.stream is not None else inputs, non_blocking=True)
        decays = decays_at(self.optimizer, self.settings, number)
        for each, decay in zip(self.groups, decays, strict=True):
            each["weight_decay"] = decay
        return self.settings.is_ternary_at(number), gate is not None and gate.is_soft(hard=False), tuple(decays)

    def _step(self) -> None:
        """As `step.step`, but for decisions, which the device takes."""
        count = len(self.groups)
        self.optimizer.zero_grad(set_to_none=True)
        self.rates.copy_(self.inputs[:count])
        if self.model.gate is not None:
            self.model.gate.ramp, self.model.gate.step = self.inputs[count].float(), self.inputs[count + 1].long()
        index = self.inputs[count + 2 :].long()[:, None] + self.offsets
        units, found = self.text[index].long(), [each[index] for each in self.found]
        with torch.autocast(units.device.type, torch.bfloat16, enabled=self.settings.precision == "bf16"):
            output = self.replica(units, found=found)
            objective, means = losses(self.model, output, units, None, self.group, self.settings.z_loss)
        objective.backward()
        norm = self._clip()
        finite = norm.isfinite() & means[0].isfinite()
        for part in parts_of(self.optimizer):
            part.found_inf = (~finite).float()  # type: ignore[attr-defined]  # torch.amp's way to skip a step
        self.optimizer.step()
        self.now.copy_(torch.stack((means[0], norm, means[2])))

    def _clip(self) -> Tensor:
        """The norm of all gradients together, which are scaled down to the limit if it is larger."""
        limit = self.settings.clip
        grads = [values_of(p.grad) for each in self.groups for p in each["params"] if p.grad is not None]
        norm = torch.nn.utils.get_total_norm(grads, foreach=True)
        torch._foreach_mul_(grads, torch.where(norm > limit, limit / (norm + 1e-6), torch.ones_like(norm)))
        return norm

    def _capture(self) -> torch.cuda.CUDAGraph | None:
        """A step as a graph, which is not run by that; None where it fails, and is not tried again."""
        graph = torch.cuda.CUDAGraph()
        try:
            with torch.cuda.graph(graph, stream=self.stream):
                self._step()
        except RuntimeError as error:
            warnings.warn(f"a step is not captured as a CUDA graph ({error}); it runs kernel by kernel", stacklevel=2)
            self.graphs = False
            return None
        return graph
