"""Between the two products of an FFN: scales, gated unit and quantiser at once, and back.

Shapes: M rows, H channels inside; gate_up has 2 H.
"""
# mypy: allow-untyped-defs, no-check-untyped-defs

from collections.abc import Sequence

import torch
import triton
import triton.language as tl
from torch import Tensor

from cpu1.ops.gpu.arithmetic import load_gain, norm_gradient, silu_slope, store_quantised
from cpu1.ops.gpu.launch import launch, shared_rows, whole_row
from cpu1.ops.gpu.product import integer_product
from cpu1.ops.gpu.ternary import ternarise
from cpu1.ops.native import dense, optional, rows
from cpu1.ops.operator import absent
from cpu1.ops.ternary import scale_swiglu_gradient_op, ternary_swiglu_op

# Rows of [gate, up] are twice the width; gate_up keeps them for the backward pass, in the type of its products.


@triton.jit
def _swiglu_quantise(
    sums, row_factor, column, gate_up, gain, q, s, r, sums_row, width, eps, BLOCK: tl.constexpr
):  # fmt: skip
    row = tl.program_id(0).to(tl.int64)
    at = tl.arange(0, BLOCK)
    inside = at < width
    factor = tl.load(row_factor + row)
    from_, to = sums + row * sums_row + at, gate_up + row * 2 * width + at
    gate = tl.load(from_, mask=inside, other=0).to(tl.float32) * factor
    gate = gate * tl.load(column + at, mask=inside, other=0.0)
    up = tl.load(from_ + width, mask=inside, other=0).to(tl.float32) * factor
    up = up * tl.load(column + width + at, mask=inside, other=0.0)
    tl.store(to, gate.to(gate_up.dtype.element_ty), mask=inside)
    tl.store(to + width, up.to(gate_up.dtype.element_ty), mask=inside)
    store_quantised(gate * tl.sigmoid(gate) * up, gain, q, s, r, row, at, inside, width, eps)


@triton.jit
def _scale_swiglu_gradient(
    dq, gate_up, gain, s, r, row_factor, column, scaled, dgain, count, each, width, BLOCK: tl.constexpr
):  # fmt: skip
    at = tl.arange(0, BLOCK)
    inside = at < width
    weight = load_gain(gain, at, inside)
    gate_column = tl.load(column + at, mask=inside, other=0.0)
    up_column = tl.load(column + width + at, mask=inside, other=0.0)
    total = tl.zeros([BLOCK], tl.float32)
    first = tl.program_id(0).to(tl.int64) * each
    for row in range(first, tl.minimum(first + each, count)):
        pair = row * 2 * width + at
        gate = tl.load(gate_up + pair, mask=inside, other=0.0).to(tl.float32)
        up = tl.load(gate_up + pair + width, mask=inside, other=0.0).to(tl.float32)
        opened = tl.sigmoid(gate)
        inverse = tl.load(r + row)
        normed = gate * opened * up * inverse
        d = tl.load(dq + row * width + at, mask=inside, other=0.0).to(tl.float32) / tl.load(s + row)
        total += d * normed
        d = norm_gradient(d * weight, normed, inverse, width) * tl.load(row_factor + row)
        dgate = d * up * silu_slope(gate, opened) * gate_column
        dup = d * (gate * opened) * up_column
        tl.store(scaled + pair, dgate.to(scaled.dtype.element_ty), mask=inside)
        tl.store(scaled + pair + width, dup.to(scaled.dtype.element_ty), mask=inside)
    if gain is not None:
        tl.store(dgain + tl.program_id(0) * width + at, total, mask=inside)


@ternary_swiglu_op.kernel("CUDA")
def ternary_swiglu(
    q_real: Tensor, q: Tensor, s: Tensor, weight: Tensor, parts: Sequence[int], gain: Tensor | None, eps: float
) -> tuple[Tensor, ...]:
    """The CUDA kernel of the operator `cpu1::ternary_swiglu`; shapes as in its reference."""
    w, _, row_scale = ternarise(weight, parts)
    sums, width = integer_product(rows(q), w), len(weight) // 2
    out_q, out_s, r, out_q_real, gate_up, _, _ = ternary_swiglu_op.empty(q_real, q, s, weight, parts, gain, eps)
    tensors = (sums, s.contiguous(), row_scale, gate_up, optional(gain, width), out_q, out_s, r)
    launch(_swiglu_quantise, (s.numel(),), *tensors, sums.stride(0), width, eps, **whole_row(width))
    return out_q, out_s, r, out_q_real, gate_up, w, row_scale


@scale_swiglu_gradient_op.kernel("CUDA")
def scale_swiglu_gradient(
    dq: Tensor, gate_up: Tensor, gain: Tensor | None, s: Tensor, r: Tensor, row: Tensor, column: Tensor
) -> tuple[Tensor, ...]:
    """The CUDA kernel of the operator `cpu1::scale_swiglu_gradient`; shapes as in its reference."""
    count, width = len(gate_up), gate_up.shape[1] // 2
    scaled, dq = torch.empty_like(gate_up), dense(rows(dq), count, width)
    programs, each = shared_rows(count)
    partial = None if gain is None else s.new_empty(programs, width)
    tensors = (dq, gate_up, optional(gain, width), s, r, row.contiguous(), column, scaled, partial)
    launch(_scale_swiglu_gradient, (programs,), *tensors, count, each, width, **whole_row(width))
    return scaled, absent(s), absent(s), absent(s) if partial is None else partial.sum(0)
