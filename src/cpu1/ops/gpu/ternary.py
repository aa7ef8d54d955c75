"""Ternary weights, and the steps around the product with them.

Shapes: M rows, K inputs, N outputs.
"""
# mypy: allow-untyped-defs, no-check-untyped-defs

from collections.abc import Sequence

import torch
import triton
import triton.language as tl
from torch import Tensor

from cpu1.ops.gpu.launch import launch, whole_row
from cpu1.ops.gpu.product import integer_product
from cpu1.ops.native import dense, rows
from cpu1.ops.operator import absent
from cpu1.ops.quantiser import gradient_dtype
from cpu1.ops.ternary import cast_int8_op, scale_gradient_op, ternarise_op, ternary_linear_op, unscale_gradient_op

TILE = {"ROWS": 8, "COLUMNS": 128, "num_warps": 4}


# -------------------------------------------------------------------------------------- ternarise


@triton.jit
def _sums(weight, sums, width, BLOCK: tl.constexpr):
    """Σ|W| of each row, in double."""
    row = tl.program_id(0).to(tl.int64)
    at = tl.arange(0, BLOCK)
    values = tl.load(weight + row * width + at, mask=at < width, other=0.0)
    tl.store(sums + row, tl.sum(tl.abs(values).to(tl.float64), 0))


@triton.jit
def _scales(sums, scale, row_scale, part, first, count, numbers, BLOCK: tl.constexpr):
    """γ of the part of `count` rows from `first` on, which hold `numbers` values."""
    at = tl.arange(0, BLOCK)
    inside = at < count
    total = tl.sum(tl.load(sums + first + at, mask=inside, other=0.0), 0)
    mean = (total / numbers).to(tl.float32)
    gamma = tl.where(mean == 0.0, 1.0, mean)
    tl.store(scale + part, gamma)
    tl.store(row_scale + first + at, tl.where(inside, gamma, 0.0), mask=inside)


@triton.jit
def _ternarise(weight, row_scale, w, width, BLOCK: tl.constexpr):
    row = tl.program_id(0).to(tl.int64)
    at = tl.arange(0, BLOCK)
    inside = at < width
    half = tl.load(row_scale + row) / 2.0
    values = tl.load(weight + row * width + at, mask=inside, other=0.0)
    signs = tl.where(values > half, 1, 0) - tl.where(values < -half, 1, 0)
    tl.store(w + row * width + at, signs.to(tl.int8), mask=inside)


@ternarise_op.kernel("CUDA")
def ternarise(weight: Tensor, parts: Sequence[int]) -> tuple[Tensor, Tensor, Tensor]:
    """The CUDA kernel of the operator `cpu1::ternarise`; shapes as in its reference."""
    count, inputs = weight.shape
    weight = dense(weight, sum(parts), inputs)
    w, scale, row_scale = ternarise_op.empty(weight, parts)
    sums = weight.new_empty(count, dtype=torch.float64)
    launch(_sums, (count,), weight, sums, inputs, **whole_row(inputs))
    first = 0
    for i, part in enumerate(parts):
        launch(_scales, (1,), sums, scale, row_scale, i, first, part, part * inputs, **whole_row(part))
        first += part
    launch(_ternarise, (count,), weight, row_scale, w, inputs, **whole_row(inputs))
    return w, scale, row_scale


# ---------------------------------------------------------------------------------------- product


@triton.jit
def _scaled(
    x, s, scale, inner, up, out, count, first, last, x_row, width, inner_row,
    RANK: tl.constexpr, ROWS: tl.constexpr, COLUMNS: tl.constexpr,
):  # fmt: skip
    """out = x s γ in columns `first` to `last`, plus inner upᵀ if given, for a tile of rows and columns."""
    m = tl.program_id(0) * ROWS + tl.arange(0, ROWS)
    n = first + tl.program_id(1) * COLUMNS + tl.arange(0, COLUMNS)
    long, inside = m.to(tl.int64), (m < count)[:, None] & (n < last)[None, :]
    value = tl.load(x + long[:, None] * x_row + n[None, :], mask=inside, other=0).to(tl.float32)
    value = value * tl.load(s + m, mask=m < count, other=0.0)[:, None]
    value = value * tl.load(scale + n, mask=n < last, other=0.0)[None, :]
    if inner is not None:
        for k in tl.static_range(RANK):
            share = tl.load(inner + long * inner_row + k, mask=m < count, other=0.0)
            value += share[:, None] * tl.load(up + n * RANK + k, mask=n < last, other=0.0)[None, :]
    tl.store(out + long[:, None] * width + n[None, :], value.to(out.dtype.element_ty), mask=inside)


def _scale(
    x: Tensor, s: Tensor, scale: Tensor, out: Tensor, parts: Sequence[int], inner: Tensor | None, up: Tensor | None
) -> None:
    """x (M, N) times s (M,) and scale (N,) into out; the low-rank path is added part by part."""
    count, width = x.shape
    rank = 0 if up is None else up.shape[1]
    first = 0
    for i, part in enumerate(parts if rank else (width,)):
        grid = triton.cdiv(count, TILE["ROWS"]), triton.cdiv(part, TILE["COLUMNS"])
        share = None if inner is None else inner[:, i * rank :]
        sizes = (count, first, first + part, x.stride(0), width, len(parts) * rank, rank)
        launch(_scaled, grid, x, s, scale, share, up, out, *sizes, **TILE)
        first += part


def _low_rank(
    inner: Tensor | None, up: Tensor | None, s: Tensor, parts: Sequence[int]
) -> tuple[Tensor | None, Tensor | None]:
    """Both dense, as (M, parts * rank) and (N, rank); or neither."""
    if inner is None or up is None:
        return None, None
    rank = up.shape[1]
    return rows(dense(inner, *s.shape, len(parts) * rank)), dense(up, sum(parts), rank)


@ternary_linear_op.kernel("CUDA")
def ternary_linear(
    q_real: Tensor, q: Tensor, s: Tensor, weight: Tensor, parts: Sequence[int], inner: Tensor | None, up: Tensor | None
) -> tuple[Tensor, Tensor, Tensor]:
    """The CUDA kernel of the operator `cpu1::ternary_linear`; shapes as in its reference."""
    w, _, row_scale = ternarise(weight, parts)
    y = s.new_empty(*s.shape, len(w))
    sums = integer_product(rows(q), w)
    _scale(sums, s.contiguous(), row_scale, rows(y), parts, *_low_rank(inner, up, s, parts))
    return y, w, row_scale


@scale_gradient_op.kernel("CUDA")
def scale_gradient(
    dy: Tensor, s: Tensor, row_scale: Tensor, bf16: bool, parts: Sequence[int], inner: Tensor | None, up: Tensor | None
) -> tuple[Tensor, ...]:
    """Without its rows in int8: the other product stays in bf16 here."""
    flat = rows(dy)
    out, none = torch.empty_like(flat, dtype=gradient_dtype(bf16)), absent(dy)
    _scale(flat, s.contiguous(), row_scale, out, parts, None, None)
    narrow, matrix = _low_rank(inner, up, s, parts)
    if inner is None or narrow is None or matrix is None:
        return out, none, none, none, none
    with torch.autocast(dy.device.type, enabled=False):  # thin products: in fp32, as the path itself
        pieces = flat.split(list(parts), 1)
        dinner = [piece @ each for piece, each in zip(pieces, matrix.split(list(parts)), strict=True)]
        dup = [piece.t() @ each for piece, each in zip(pieces, narrow.split(matrix.shape[1], 1), strict=True)]
    return out, none, none, torch.cat(dinner, 1).view(inner.shape), torch.cat(dup)


@unscale_gradient_op.kernel("CUDA")
def unscale_gradient(dw: Tensor, row_scale: Tensor) -> Tensor:
    """The CUDA kernel of the operator `cpu1::unscale_gradient`; shapes as in its reference."""
    return dw / row_scale[:, None]


@cast_int8_op.kernel("CUDA")
def cast_int8(q: Tensor, bf16: bool) -> Tensor:
    """The CUDA kernel of the operator `cpu1::cast_int8`; shapes as in its reference."""
    return q.to(gradient_dtype(bf16))
