"""The model as plain eager torch in fp32, with no operator of ours: what training speed is compared with.

The modules are the project's. Of the reference's operations, which are plain torch themselves, those are replaced
that are written to be obvious rather than fast: the norm by torch's own, the recurrence, a Python loop there, by a
scan of logarithmic depth, and BitLinear by fake quantisation as its authors published it.
"""

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from unittest.mock import patch

import torch
import torch.nn.functional as F
from torch import Tensor, nn, optim

from cpu1 import ops
from cpu1.model.network import Model
from cpu1.ops import reference
from cpu1.ops.reference import EPS, LEVELS, Precision, Quantised

SMALLEST = 1e-5  # least peak of a row and least mean of a matrix that scales are taken from, as published


def make_optimizer(model: Model) -> optim.AdamW:
    """torch's AdamW, fused: the default form is slower still."""
    return optim.AdamW(model.parameters(), lr=1e-4, betas=(0.9, 0.95), weight_decay=0.1, fused=True)


def step(model: Model, optimizer: optim.Optimizer, units: Tensor) -> None:
    """One step of training on windows `units` (B, N)."""
    with operations():
        output = model(units)
        loss = F.cross_entropy(output.logits.flatten(0, 1), units.flatten())
        if model.gate is not None:
            loss = loss + model.gate.penalty(output.keep, model.gate.shares(output.keep.detach())[0])
    optimizer.zero_grad()
    loss.backward()
    nn.utils.clip_grad_norm_(model.parameters(), 1.0)
    optimizer.step()


@contextmanager
def operations() -> Iterator[None]:
    """Inside it every model computes with the operations of this file and otherwise with the reference's."""
    with ops.use_reference(), ExitStack() as stack:
        for module in (ops, reference):  # what ingredients call, and what other references are built of
            for operation in (quantise, rms_norm, ternary_linear):
                stack.enter_context(patch.object(module, operation.__name__, operation))
        stack.enter_context(patch.object(reference, "_recur", recur))
        yield


def rms_norm(x: Tensor, gain: Tensor | None = None, eps: float = EPS) -> Tensor:
    return F.rms_norm(x, x.shape[-1:], gain, eps)


def recur(gate: Tensor, fresh: Tensor, keep: Tensor | None, state: Tensor | None) -> Tensor:
    """h_t = gate_t h_{t-1} + fresh_t (B, T, D) along dimension 1, softened by `keep` (B, T), from `state` (B, D)."""
    if keep is not None:
        k = keep.unsqueeze(-1)
        gate, fresh = 1 - k * (1 - gate), k * fresh
    if state is not None:
        fresh = torch.cat((torch.addcmul(fresh[:, :1], gate[:, :1], state[:, None]), fresh[:, 1:]), 1)
    return scan(gate, fresh)


def scan(a: Tensor, b: Tensor) -> Tensor:
    """h_t = a_t h_{t-1} + b_t (B, T, D) from h = 0, in 2 log T steps of O(T) work together (Blelloch 1990).

    Two neighbours are one step of a recurrence of half the length, whose states are every second one of this. It only
    multiplies a, so that no a is too small for it. On a CPU it takes a quarter of the time of Hillis and Steele's
    scan, which needs log T steps of O(T) work each.
    """
    time = a.shape[1]
    if time == 1:
        return b
    if time % 2:
        return scan(F.pad(a, (0, 0, 0, 1)), F.pad(b, (0, 0, 0, 1)))[:, :time]
    (first_a, second_a), (first_b, second_b) = (x.unflatten(1, (-1, 2)).unbind(2) for x in (a, b))
    second = scan(first_a * second_a, torch.addcmul(second_b, second_a, first_b))
    before = F.pad(second[:, :-1], (0, 0, 1, 0))
    return torch.stack((torch.addcmul(first_b, first_a, before), second), 2).flatten(1, 2)


def quantise(x: Tensor, gain: Tensor | None = None, eps: float = EPS, precision: Precision | None = None) -> Quantised:
    """Fake quantisation: the levels are the rounded rows themselves, with their scale; there are no integers."""
    rows = quantised(rms_norm(x, gain, eps))
    return Quantised(rows, rows, rows)


def ternary_linear(
    x: Quantised, weight: Tensor, parts: Sequence[int], inner: Tensor | None = None, up: Tensor | None = None
) -> Tensor:
    """BitLinear by fake quantisation with straight-through gradients, as in BitNet b1.58's "Training Tips" (2024).

    Each of the stacked matrices, of parts[i] rows, is ternarised by a scale of its own.
    """
    y = F.linear(x.q_real, torch.cat([ternarised(matrix) for matrix in weight.split(list(parts))]))
    return y if inner is None or up is None else y + F.linear(inner, torch.block_diag(*up.split(list(parts))))


def quantised(x: Tensor) -> Tensor:
    """x (..., K) rounded to 8 bits a row."""
    scale = x.detach().abs().amax(-1, keepdim=True).clamp_min(SMALLEST) / LEVELS
    return x + ((x / scale).round() * scale - x).detach()


def ternarised(weight: Tensor) -> Tensor:
    """A matrix rounded to -1, 0 and 1 times its mean |W|."""
    scale = weight.detach().abs().mean().clamp_min(SMALLEST)
    return weight + ((weight / scale).round().clamp(-1, 1) * scale - weight).detach()
