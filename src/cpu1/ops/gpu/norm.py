"""RMSNorm: rows, and their gradients with a gain's summed over all rows.

Shapes: M rows, N channels.
"""
# mypy: allow-untyped-defs, no-check-untyped-defs

import torch
import triton
import triton.language as tl
from torch import Tensor

from cpu1.ops.gpu.arithmetic import load_gain, norm_gradient, root_mean
from cpu1.ops.gpu.launch import launch, shared_rows, whole_row
from cpu1.ops.native import dense, optional, rows
from cpu1.ops.operator import absent
from cpu1.ops.rows import norm_backward_op, norm_op


@triton.jit
def _norm(x, gain, y, r, width, eps, BLOCK: tl.constexpr):
    row = tl.program_id(0).to(tl.int64)
    at = tl.arange(0, BLOCK)
    inside = at < width
    values = tl.load(x + row * width + at, mask=inside, other=0.0)
    inverse = root_mean(values, width, eps)
    tl.store(y + row * width + at, values * inverse * load_gain(gain, at, inside), mask=inside)
    tl.store(r + row, inverse)


@triton.jit
def _norm_backward(dy, x, r, gain, divide, dx, dgain, count, each, width, BLOCK: tl.constexpr):
    at = tl.arange(0, BLOCK)
    inside = at < width
    weight = load_gain(gain, at, inside)
    total = tl.zeros([BLOCK], tl.float32)
    first = tl.program_id(0).to(tl.int64) * each
    for row in range(first, tl.minimum(first + each, count)):
        here = row * width + at
        d = tl.load(dy + here, mask=inside, other=0.0).to(tl.float32)
        if divide is not None:
            d = d / tl.load(divide + row)
        inverse = tl.load(r + row)
        normed = tl.load(x + here, mask=inside, other=0.0) * inverse
        total += d * normed
        tl.store(dx + here, norm_gradient(d * weight, normed, inverse, width), mask=inside)
    if gain is not None:
        tl.store(dgain + tl.program_id(0) * width + at, total, mask=inside)


def norm_rows_backward(
    dy: Tensor, x: Tensor, r: Tensor, gain: Tensor | None, divide: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    """Gradients of x (M, K) and gain (K,) from dy (M, K), fp32 or bf16, its rows divided by `divide` (M,)."""
    (count, width), dx = x.shape, torch.empty_like(x)
    programs, each = shared_rows(count)
    partial = None if gain is None else x.new_empty(programs, width)
    tensors = (dense(dy, *x.shape), x, r.contiguous(), gain, divide, dx, partial)
    launch(_norm_backward, (programs,), *tensors, count, each, width, **whole_row(width))
    return dx, absent(x) if partial is None else partial.sum(0)


@norm_op.kernel("CUDA")
def norm(x: Tensor, gain: Tensor | None, eps: float) -> tuple[Tensor, Tensor]:
    """The CUDA kernel of the operator `cpu1::norm`; shapes as in its reference."""
    flat, gain = rows(x), optional(gain, x.shape[-1])
    y, r = torch.empty_like(flat), x.new_empty(len(flat))
    launch(_norm, (len(flat),), flat, gain, y, r, flat.shape[1], eps, **whole_row(flat.shape[1]))
    return y.view(x.shape), r.view(x.shape[:-1])


@norm_backward_op.kernel("CUDA")
def norm_backward(dy: Tensor, x: Tensor, r: Tensor, gain: Tensor | None) -> tuple[Tensor, Tensor]:
    """The CUDA kernel of the operator `cpu1::norm_backward`; shapes as in its reference."""
    dx, dgain = norm_rows_backward(rows(dy), rows(x), r, optional(gain, x.shape[-1]))
    return dx.view(x.shape), dgain
