"""Matrix products: the ternary one, exact in integers, and the dense one."""

import platform
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from cpu1.ops import reference
from cpu1.ops.native import address, beside, dense, optional, rows, train
from cpu1.ops.reference import EPS, LEVELS, Precision
from cpu1.ops.rows import quantise_rows, rms_norm_backward

# fp32 counts integers up to here: sums of K products of at most LEVELS stay below it for K < 132,104
EXACT_IN_FP32 = 2**24


@beside(reference.ternarise)
def ternarise(weight: Tensor, parts: Sequence[int]) -> tuple[Tensor, Tensor]:
    w, scale, _ = ternarise_rows(weight, parts)
    return w, scale


def ternarise_rows(weight: Tensor, parts: Sequence[int]) -> tuple[Tensor, Tensor, Tensor]:
    """w, γ, and γ (N,) of every row."""
    inputs = weight.shape[1]
    weight = dense(weight.detach(), sum(parts), inputs)
    w = torch.empty_like(weight, dtype=torch.int8)
    scale, row_scale = weight.new_empty(len(parts)), weight.new_empty(len(weight))
    first = 0
    for i, part in enumerate(parts):
        at = (
            address(weight, first * inputs),
            address(w, first * inputs),
            address(scale, i),
            address(row_scale, first),
        )
        train.ternarise(*at, part, inputs, torch.get_num_threads())
        first += part
    return w, scale, row_scale


def integer_product(q: Tensor, w: Tensor) -> Tensor:
    """q wᵀ in int32 (M, N) from int8 q (M, K), ternary int8 w (N, K): exact by whichever way is fast here."""
    if platform.machine() in ("x86_64", "AMD64"):  # where torch has integer kernels
        return torch._int_mm(q, w.t())
    kind = torch.float32 if q.shape[1] * LEVELS < EXACT_IN_FP32 else torch.float64
    return (q.to(kind) @ w.to(kind).t()).to(torch.int32)


@beside(reference.bit_linear)
def bit_linear(
    x: Tensor,
    weight: Tensor,
    parts: Sequence[int],
    gain: Tensor | None = None,
    eps: float = EPS,
    precision: Precision | None = None,
) -> Tensor:
    y: Tensor = _BitLinear.apply(x, weight, parts, gain, eps, precision or reference.autocast_precision())
    return y


class _BitLinear(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        x: Tensor,
        weight: Tensor,
        parts: Sequence[int],
        gain: Tensor | None,
        eps: float,
        precision: str,
    ) -> Tensor:
        flat, gain = rows(x), optional(gain, x.shape[-1])
        q, s, r = quantise_rows(flat, gain, eps)
        w, _, row_scale = ternarise_rows(weight, parts)
        sums = integer_product(q, w)
        train.dequantise(address(sums), address(s), address(row_scale), *sums.shape, torch.get_num_threads())
        ctx.save_for_backward(flat, gain, q, s, r, w, row_scale)
        ctx.kind = _KINDS[precision]
        return sums.view(torch.float32).view(*x.shape[:-1], len(w))

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, dy: Tensor) -> tuple[Tensor | None, ...]:
        """dx̂ = (dy s γ) w / s, dW = (dy s γ)ᵀ q / γ: bf16 rounds dy s γ once, and holds q and w exactly."""
        x, gain, q, s, r, w, row_scale = ctx.saved_tensors
        dx = dweight = dgain = None
        folded = _scaled(rows(dy), s, row_scale, ctx.kind)
        if ctx.needs_input_grad[1]:
            dweight = _unscaled(folded.t() @ _integers(q, ctx.kind), row_scale)
        if ctx.needs_input_grad[0] or ctx.needs_input_grad[3]:
            dx, dgain = rms_norm_backward(folded @ _integers(w, ctx.kind), x, r, gain, divide=s)
            dx = dx.view(*dy.shape[:-1], x.shape[1])
        return dx, dweight, None, dgain, None, None


_KINDS = {"bf16": torch.bfloat16, "fp32": torch.float32}


def _scaled(matrix: Tensor, row: Tensor | None, column: Tensor | None, kind: torch.dtype) -> Tensor:
    """matrix * row[:, None] * column in bf16 or fp32."""
    if kind == torch.float32:
        matrix = matrix if row is None else matrix * row[:, None]
        return matrix if column is None else matrix * column
    out = torch.empty_like(matrix, dtype=kind)
    tensors = (address(tensor) for tensor in (matrix, row, column, out))
    train.narrow(*tensors, *matrix.shape, torch.get_num_threads())
    return out


def _unscaled(matrix: Tensor, row: Tensor) -> Tensor:
    """matrix / row[:, None] in fp32."""
    if matrix.dtype == torch.float32:
        return matrix.div_(row[:, None])
    out = torch.empty_like(matrix, dtype=torch.float32)
    train.widen(address(matrix), address(row), address(out), *matrix.shape, torch.get_num_threads())
    return out


def _integers(matrix: Tensor, kind: torch.dtype) -> Tensor:
    """An int8 matrix in bf16 or fp32."""
    if kind == torch.float32:
        return matrix.float()
    out = torch.empty_like(matrix, dtype=kind)
    train.int8_to_bf16(address(matrix), address(out), matrix.numel(), torch.get_num_threads())
    return out


@beside(reference.linear)
def linear(x: Tensor, weight: Tensor, bias: Tensor | None = None, precision: Precision | None = None) -> Tensor:
    if (precision or reference.autocast_precision()) == "fp32":
        return reference.linear(x, weight, bias)
    y: Tensor = _LinearBf16.apply(x, weight, bias)
    return y


class _LinearBf16(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        narrow_x, narrow_weight = (_scaled(rows(matrix), None, None, torch.bfloat16) for matrix in (x, weight))
        ctx.save_for_backward(narrow_x, narrow_weight)
        y = (narrow_x @ narrow_weight.t()).float()
        if bias is not None:
            y += bias
        return y.view(*x.shape[:-1], len(weight))

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, dy: Tensor) -> tuple[Tensor | None, ...]:
        x, weight = ctx.saved_tensors
        flat = rows(dy)
        narrow_dy = _scaled(flat, None, None, torch.bfloat16)
        dx = dweight = dbias = None
        if ctx.needs_input_grad[0]:
            dx = (narrow_dy @ weight).float().view(*dy.shape[:-1], x.shape[1])
        if ctx.needs_input_grad[1]:
            dweight = (narrow_dy.t() @ x).float()
        if ctx.needs_input_grad[2]:
            dbias = flat.sum(0)
        return dx, dweight, dbias
