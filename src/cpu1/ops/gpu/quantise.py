"""The quantiser of activations: reference.quantise, integer for integer.

Shapes: M rows, N channels.
"""
# mypy: allow-untyped-defs, no-check-untyped-defs

import triton
import triton.language as tl
from torch import Tensor

from cpu1.ops.gpu.arithmetic import store_quantised
from cpu1.ops.gpu.launch import launch, whole_row
from cpu1.ops.gpu.norm import norm_rows_backward
from cpu1.ops.native import optional, rows
from cpu1.ops.quantiser import empty_rows, quantise_backward_op, quantise_op


@triton.jit
def _quantise(x, gain, q, s, r, width, eps, BLOCK: tl.constexpr):
    row = tl.program_id(0).to(tl.int64)
    at = tl.arange(0, BLOCK)
    inside = at < width
    values = tl.load(x + row * width + at, mask=inside, other=0.0)
    store_quantised(values, gain, q, s, r, row, at, inside, width, eps)


@quantise_op.kernel("CUDA")
def quantise(x: Tensor, gain: Tensor | None, eps: float, bf16: bool) -> tuple[Tensor, ...]:
    """The CUDA kernel of the operator `cpu1::quantise`; shapes as in its reference."""
    flat, gain = rows(x), optional(gain, x.shape[-1])
    q, s, r, q_real = empty_rows(x.shape, x, bf16)
    launch(_quantise, (len(flat),), flat, gain, q, s, r, flat.shape[1], eps, **whole_row(flat.shape[1]))
    return q, s, r, q_real


@quantise_backward_op.kernel("CUDA")
def quantise_backward(dq: Tensor, x: Tensor, gain: Tensor | None, s: Tensor, r: Tensor) -> tuple[Tensor, Tensor]:
    """The CUDA kernel of the operator `cpu1::quantise_backward`; shapes as in its reference."""
    dx, dgain = norm_rows_backward(rows(dq), rows(x), r, optional(gain, x.shape[-1]), divide=s)
    return dx.view(x.shape), dgain
