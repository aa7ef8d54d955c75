"""Which of two kernels runs: the faster one, measured once a shape on the device that it runs on.

Shapes: B streams, T steps, W channels.
"""

import os
import warnings
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

LEAST_TIME = 32  # steps of time below which there is nothing to choose: the plain form runs
CALLS = 10  # timed, after as many that are not
TOLERANCE = 1e-3  # of the largest value: by how much what the other form writes may differ
FORCED = os.environ.get("CPU1_SCAN", "")  # "order" or "chunks": no measurement


class Choice:
    """A form that goes through time in order, and one by chunks: called alike, they write the same tensors."""

    def __init__(self, written: int, order: Callable[..., None], chunks: Callable[..., None]) -> None:
        """`written`: the place of the first argument that they write; all behind it are written too."""
        self.written = written
        self.forms = {"order": order, "chunks": chunks}
        self.known: dict[tuple[Any, ...], str] = {}
        self.measured: list[dict[str, Any]] = []  # what there was to choose from, for reports

    def __call__(self, *tensors: Tensor | None) -> None:
        self.forms[self.name(tensors)](*tensors)

    def name(self, tensors: tuple[Tensor | None, ...]) -> str:
        """The form to take; measured where this kind of shape is new, and never while a graph is captured."""
        if FORCED:
            return FORCED
        first = tensors[0]
        assert first is not None
        if not first.is_cuda or first.shape[1] < LEAST_TIME:
            return "order"
        batch, time, width = first.shape
        kind = (first.device, batch.bit_length(), time, width, *(tensor is None for tensor in tensors))
        if kind not in self.known:
            if torch.cuda.is_current_stream_capturing():
                return "order"
            self.known[kind], times = self._measure(tensors)
            self.measured.append({"shape": [batch, time, width], "chosen": self.known[kind], "milliseconds": times})
        return self.known[kind]

    def _measure(self, tensors: tuple[Tensor | None, ...]) -> tuple[str, dict[str, float]]:
        """The form to take, and what each took."""
        results, times = {}, {}
        for name, form in self.forms.items():
            times[name] = _milliseconds(form, tensors)
            results[name] = [tensor.clone() for tensor in tensors[self.written :] if tensor is not None]
        for plain, other in zip(results["order"], results["chunks"], strict=True):
            if not (plain - other).abs().max() <= TOLERANCE * plain.abs().max():
                if plain.isfinite().all():
                    warnings.warn("a scan by chunks differs from the one in order, and is not used", stacklevel=2)
                return "order", times
        return min(times, key=lambda name: times[name]), times


def _milliseconds(form: Callable[..., None], tensors: tuple[Tensor | None, ...]) -> float:
    begun, ended = (torch.cuda.Event(enable_timing=True) for _ in range(2))
    for _ in range(CALLS):
        form(*tensors)
    begun.record()
    for _ in range(CALLS):
        form(*tensors)
    ended.record()
    ended.synchronize()
    return begun.elapsed_time(ended) / CALLS
