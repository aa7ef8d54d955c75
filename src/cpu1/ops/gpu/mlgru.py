"""The MLGRU between its matrices: scan, then norm and gate, and the quantiser with them where one follows.

Shapes: B streams, T steps, W channels; fcg has 3 W.
"""
# mypy: allow-untyped-defs, no-check-untyped-defs

import torch
import triton
import triton.language as tl
from torch import Tensor

from cpu1.ops.gpu.arithmetic import load_gain, norm_gradient, root_mean, silu_slope, store_quantised
from cpu1.ops.gpu.launch import launch, shared_rows, whole_row
from cpu1.ops.gpu.scan import scan, scan_backward
from cpu1.ops.native import dense, optional
from cpu1.ops.operator import absent
from cpu1.ops.quantiser import empty_rows, mlgru_quantise_backward_op, mlgru_quantise_op
from cpu1.ops.reference import EPS
from cpu1.ops.scan import mlgru_mix_backward_op, mlgru_mix_op

# In all kernels g and dg are the last thirds of rows of three times the width.


@triton.jit
def _gated_norm(h, g, u, width, eps, BLOCK: tl.constexpr):
    row = tl.program_id(0).to(tl.int64)
    at = tl.arange(0, BLOCK)
    inside = at < width
    states = tl.load(h + row * width + at, mask=inside, other=0.0)
    gate = tl.load(g + row * 3 * width + at, mask=inside, other=0.0)
    mixed = states * root_mean(states, width, eps) * (gate * tl.sigmoid(gate))
    tl.store(u + row * width + at, mixed, mask=inside)


@triton.jit
def _gated_norm_quantise(h, g, gain, q, s, r, width, eps, BLOCK: tl.constexpr):
    row = tl.program_id(0).to(tl.int64)
    at = tl.arange(0, BLOCK)
    inside = at < width
    states = tl.load(h + row * width + at, mask=inside, other=0.0)
    gate = tl.load(g + row * 3 * width + at, mask=inside, other=0.0)
    mixed = states * root_mean(states, width, eps) * (gate * tl.sigmoid(gate))
    store_quantised(mixed, gain, q, s, r, row, at, inside, width, eps)


@triton.jit
def _gated_norm_backward(
    du, h, g, gain, s, r, dh, dg, dgain, count, each, width, eps, BLOCK: tl.constexpr
):  # fmt: skip
    """With s, du is the gradient of q_real."""
    at = tl.arange(0, BLOCK)
    inside = at < width
    weight = load_gain(gain, at, inside)
    total = tl.zeros([BLOCK], tl.float32)
    first = tl.program_id(0).to(tl.int64) * each
    for row in range(first, tl.minimum(first + each, count)):
        d = tl.load(du + row * width + at, mask=inside, other=0.0).to(tl.float32)
        states = tl.load(h + row * width + at, mask=inside, other=0.0)
        gate = tl.load(g + row * 3 * width + at, mask=inside, other=0.0)
        opened = tl.sigmoid(gate)
        inverse = root_mean(states, width, eps)
        normed = states * inverse
        if s is not None:
            d = d / tl.load(s + row)
            outer = tl.load(r + row)
            mixed = normed * (gate * opened) * outer
            total += d * mixed
            d = norm_gradient(d * weight, mixed, outer, width)
        tl.store(dg + row * 3 * width + at, d * normed * silu_slope(gate, opened), mask=inside)
        dstates = norm_gradient(d * (gate * opened), normed, inverse, width)
        tl.store(dh + row * width + at, dstates, mask=inside)
    if gain is not None:
        tl.store(dgain + tl.program_id(0) * width + at, total, mask=inside)


def _states(fcg: Tensor, keep: Tensor | None, h0: Tensor | None) -> tuple[Tensor, Tensor]:
    """h (B, T, D), and the slice g of the dense pre-activations (B, T, 3D)."""
    batch, time, stacked = fcg.shape
    f, c, g = dense(fcg, batch, time, stacked // 3 * 3).chunk(3, -1)
    return scan(f, c, keep, h0), g


def _backward(
    du: Tensor,
    fcg: Tensor,
    keep: Tensor | None,
    h0: Tensor | None,
    h: Tensor,
    gain: Tensor | None = None,
    s: Tensor | None = None,
    r: Tensor | None = None,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Gradients of fcg, gain, keep and h0."""
    width, fcg = h.shape[-1], fcg.contiguous()
    du, dh, dfcg = dense(du, *h.shape), torch.empty_like(h), torch.empty_like(fcg)
    (f, c, g), (df, dc, dg) = fcg.chunk(3, -1), dfcg.chunk(3, -1)
    count = h.numel() // width
    programs, each = shared_rows(count)
    partial = None if gain is None else h.new_empty(programs, width)
    tensors = (du, h, g, optional(gain, width), s, r, dh, dg, partial)
    launch(_gated_norm_backward, (programs,), *tensors, count, each, width, EPS, **whole_row(width))
    dkeep, dh0 = scan_backward(f, c, keep, h0, h, dh, df, dc)
    return dfcg, absent(fcg) if partial is None else partial.sum(0), dkeep, dh0


@mlgru_mix_op.kernel("CUDA")
def mlgru_mix(fcg: Tensor, keep: Tensor | None, h0: Tensor | None) -> tuple[Tensor, Tensor, Tensor]:
    """The CUDA kernel of the operator `cpu1::mlgru_mix`; shapes as in its reference."""
    h, g = _states(fcg, keep, h0)
    width, u = h.shape[-1], torch.empty_like(h)
    launch(_gated_norm, (h.numel() // width,), h, g, u, width, EPS, **whole_row(width))
    return u, h, h[:, -1].clone()


@mlgru_mix_backward_op.kernel("CUDA")
def mlgru_mix_backward(
    du: Tensor, fcg: Tensor, keep: Tensor | None, h0: Tensor | None, h: Tensor
) -> tuple[Tensor, ...]:
    """The CUDA kernel of the operator `cpu1::mlgru_mix_backward`; shapes as in its reference."""
    dfcg, _, dkeep, dh0 = _backward(du, fcg, keep, h0, h)
    return dfcg, dkeep, dh0


@mlgru_quantise_op.kernel("CUDA")
def mlgru_quantise(
    fcg: Tensor, gain: Tensor | None, keep: Tensor | None, h0: Tensor | None, bf16: bool
) -> tuple[Tensor, ...]:
    """The CUDA kernel of the operator `cpu1::mlgru_quantise`; shapes as in its reference."""
    h, g = _states(fcg, keep, h0)
    width = h.shape[-1]
    q, s, r, q_real = empty_rows(h.shape, h, bf16)
    tensors = (h, g, optional(gain, width), q, s, r)
    launch(_gated_norm_quantise, (s.numel(),), *tensors, width, EPS, **whole_row(width))
    return q, s, r, q_real, h, h[:, -1].clone()


@mlgru_quantise_backward_op.kernel("CUDA")
def mlgru_quantise_backward(
    dq: Tensor,
    fcg: Tensor,
    gain: Tensor | None,
    keep: Tensor | None,
    h0: Tensor | None,
    s: Tensor,
    r: Tensor,
    h: Tensor,
) -> tuple[Tensor, ...]:
    """The CUDA kernel of the operator `cpu1::mlgru_quantise_backward`; shapes as in its reference."""
    return _backward(dq, fcg, keep, h0, h, gain, s, r)
