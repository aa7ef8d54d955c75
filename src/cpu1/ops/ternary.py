"""The ternary product, exact in integers."""

import platform
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from cpu1.ops import reference
from cpu1.ops.native import address, addresses, beside, dense, kind, optional, rows, train
from cpu1.ops.operator import Operator, nothing, something
from cpu1.ops.quantise import empty_rows, quantise
from cpu1.ops.reference import EPS, LEVELS, Precision, Quantised

# fp32 counts integers up to here: sums of K products of at most LEVELS stay below it for K < 132,104
EXACT_IN_FP32 = 2**24


# -------------------------------------------------------------------------------------- ternarise


@beside(reference.ternarise)
def ternarise(weight: Tensor, parts: Sequence[int]) -> tuple[Tensor, Tensor]:
    w, scale, _ = ternarise_op(weight, parts)
    return w, scale


ternarise_op = Operator(
    "ternarise(Tensor weight, int[] parts) -> (Tensor, Tensor, Tensor)",  # w, γ, and γ (N,) of every row
    lambda weight, parts: (
        torch.empty_like(weight, dtype=torch.int8),
        weight.new_empty(len(parts)),
        weight.new_empty(len(weight)),
    ),
)


@ternarise_op.kernel("CPU")
def _ternarise(weight: Tensor, parts: Sequence[int]) -> tuple[Tensor, Tensor, Tensor]:
    inputs = weight.shape[1]
    weight = dense(weight, sum(parts), inputs)
    w, scale, row_scale = ternarise_op.empty(weight, parts)
    first = 0
    for i, part in enumerate(parts):
        at = address(weight, first * inputs), address(w, first * inputs), address(scale, i), address(row_scale, first)
        train.ternarise(*at, part, inputs, torch.get_num_threads())
        first += part
    return w, scale, row_scale


# ---------------------------------------------------------------------------------------- product


def bit_linear(
    x: Tensor,
    weight: Tensor,
    parts: Sequence[int],
    gain: Tensor | None = None,
    eps: float = EPS,
    precision: Precision | None = None,
) -> Tensor:
    """BitLinear (BitNet b1.58, arXiv 2402.17764): `ternary_linear` of `quantise`."""
    return ternary_linear(quantise(x, gain, eps, precision), weight, parts)


@beside(reference.ternary_linear)
def ternary_linear(
    x: Quantised,
    weight: Tensor,
    parts: Sequence[int],
    inner: Tensor | None = None,
    up: Tensor | None = None,
) -> Tensor:
    y, _, _ = ternary_linear_op(x.levels, x.q, x.s, weight, parts, inner, up)
    return y


ternary_linear_op = Operator(
    "ternary_linear(Tensor levels, Tensor q, Tensor s, Tensor weight, int[] parts, Tensor? inner, Tensor? up)"
    " -> (Tensor, Tensor, Tensor)",
    lambda levels, q, s, weight, parts, inner, up: (
        s.new_empty(*s.shape, len(weight)),
        torch.empty_like(weight, dtype=torch.int8),
        weight.new_empty(len(weight)),
    ),
)


def empty_folded(count: int, width: int, like: Tensor, bf16: bool) -> tuple[Tensor, Tensor, Tensor]:
    """A gradient (M, N) in its type; in bf16 also its rows as int8 and their scales (M,)."""
    folded = like.new_empty(count, width, dtype=kind(bf16))
    if not bf16:
        return folded, nothing(like), nothing(like)
    return folded, torch.empty_like(folded, dtype=torch.int8), like.new_empty(count)


fold_op = Operator(
    "fold(Tensor dy, Tensor s, Tensor row_scale, bool bf16, int[] parts, Tensor? inner, Tensor? up)"
    " -> (Tensor, Tensor, Tensor, Tensor, Tensor)",
    lambda dy, s, row_scale, bf16, parts, inner, up: (
        *empty_folded(s.numel(), dy.shape[-1], dy, bf16),
        *(nothing(dy) if tensor is None else torch.empty_like(tensor) for tensor in (inner, up)),
    ),
)
unfold_op = Operator(
    "unfold(Tensor dw, Tensor row_scale) -> Tensor", lambda dw, row_scale: torch.empty_like(dw, dtype=torch.float32)
)
narrow_sums_op = Operator(
    "narrow_sums(Tensor sums, Tensor scale) -> Tensor",
    lambda sums, scale: torch.empty_like(sums, dtype=torch.bfloat16),
)
levels_op = Operator(
    "levels(Tensor q, bool bf16) -> Tensor",
    lambda q, bf16: torch.empty_like(q, dtype=kind(bf16)),
)


def integer_product(q: Tensor, w: Tensor) -> Tensor:
    """q wᵀ in int32 (M, N) from int8 q (M, K), ternary int8 w (N, K): exact by whichever way is fast here."""
    if platform.machine() in ("x86_64", "AMD64"):  # where torch has integer kernels
        return torch._int_mm(q, w.t())
    kind = torch.float32 if q.shape[1] * LEVELS < EXACT_IN_FP32 else torch.float64
    with torch.autocast("cpu", enabled=False):  # which would round the sums to bf16
        return (q.to(kind) @ w.to(kind).t()).to(torch.int32)


@ternary_linear_op.kernel("CPU")
def _ternary_linear(
    levels: Tensor,
    q: Tensor,
    s: Tensor,
    weight: Tensor,
    parts: Sequence[int],
    inner: Tensor | None,
    up: Tensor | None,
) -> tuple[Tensor, Tensor, Tensor]:
    w, _, row_scale = _ternarise(weight, parts)
    sums = integer_product(rows(q), w)
    inner, up, rank = _low_rank(inner, up, s, parts)
    beside_it = (*addresses(inner, up), list(parts), rank)
    train.dequantise(*addresses(sums, s, row_scale), *beside_it, *sums.shape, torch.get_num_threads())
    return sums.view(torch.float32).view(*s.shape, len(w)), w, row_scale


def _low_rank(
    inner: Tensor | None, up: Tensor | None, s: Tensor, parts: Sequence[int]
) -> tuple[Tensor | None, Tensor | None, int]:
    """Both dense, `up` as (rank, N); and the rank."""
    if inner is None or up is None:
        return None, None, 0
    rank = up.shape[1]
    return dense(inner, *s.shape, len(parts) * rank), dense(up, sum(parts), rank).t().contiguous(), rank


@fold_op.kernel("CPU")
def _fold(
    dy: Tensor,
    s: Tensor,
    row_scale: Tensor,
    bf16: bool,
    parts: Sequence[int],
    inner: Tensor | None,
    up: Tensor | None,
) -> tuple[Tensor, ...]:
    flat = rows(dy)
    inner, up, rank = _low_rank(inner, up, s, parts)
    out, levels, scale, dinner, dup = fold_op.empty(dy, s, row_scale, bf16, parts, inner, up)
    paths = (*addresses(something(levels), scale, None, inner, up, dinner, dup), list(parts), rank)
    train.fold(*addresses(flat, s, row_scale, out), bf16, *paths, *flat.shape, torch.get_num_threads())
    return out, levels, scale, dinner, dup if up is None else dup.t().contiguous()


@unfold_op.kernel("CPU")
def _unfold(dw: Tensor, row_scale: Tensor) -> Tensor:
    if dw.dtype == torch.float32:
        return dw / row_scale[:, None]
    out = unfold_op.empty(dw, row_scale)
    train.widen(*addresses(dw, row_scale, None, None, out), *dw.shape, torch.get_num_threads())
    return out


@levels_op.kernel("CPU")
def _levels(q: Tensor, bf16: bool) -> Tensor:
    if not bf16:
        return q.float()
    out = levels_op.empty(q, bf16)
    train.int8_to_bf16(*addresses(q, out), q.numel(), torch.get_num_threads())
    return out


@narrow_sums_op.kernel("CPU")
def _narrow_sums(sums: Tensor, scale: Tensor) -> Tensor:
    out = narrow_sums_op.empty(sums, scale)
    train.narrow_sums(*addresses(sums, scale, out), *sums.shape, torch.get_num_threads())
    return out


def _gradients(
    folded: tuple[Tensor, Tensor, Tensor], q: Tensor, w: Tensor, row_scale: Tensor, wanted: tuple[bool, bool]
) -> Any:
    """Those of q and of the weight, where wanted: dq = (dy s γ) w, dW = (dy s γ)ᵀ q / γ, folded = dy s γ (M, N).

    bf16 rounds dy s γ once, and holds q exactly. With its rows in int8 as well dq is a product of integers, at twice
    the speed, and the rounding is like noise in a gradient (SwitchBack, arXiv 2304.13013); dW, which sums over rows,
    stays in bf16.
    """
    matrix, levels, scale = folded
    bf16 = matrix.dtype == torch.bfloat16
    dq = dweight = None
    if wanted[0] and levels.numel():
        dq = narrow_sums_op(torch._int_mm(levels, w), scale).view(q.shape)
    elif wanted[0]:
        dq = (matrix @ levels_op(w, bf16)).view(q.shape)
    if wanted[1]:
        dweight = unfold_op(matrix.t() @ levels_op(q.view(-1, q.shape[-1]), bf16), row_scale)
    return dq, dweight


def _save(ctx: Any, inputs: tuple[Any, ...], outputs: tuple[Tensor, ...]) -> None:
    levels, q, s, _, parts, inner, up = inputs
    ctx.save_for_backward(q, s, *outputs[1:], inner, up)
    ctx.parts, ctx.bf16 = parts, levels.dtype == torch.bfloat16


@ternary_linear_op.gradient(_save, constants=(1, 2))
def _(ctx: Any, dy: Tensor, *_: None) -> tuple[Any, ...]:
    q, s, w, row_scale, inner, up = ctx.saved_tensors
    *folded, dinner, dup = fold_op(dy, s, row_scale, ctx.bf16, ctx.parts, inner, up)
    dq, dweight = _gradients(folded, q, w, row_scale, (ctx.needs_input_grad[0], ctx.needs_input_grad[3]))
    return dq, None, None, dweight, None, something(dinner), something(dup)


# ------------------------------------------------------------------- product, SwiGLU and quantiser


@beside(reference.ternary_swiglu)
def ternary_swiglu(
    x: Quantised, weight: Tensor, parts: Sequence[int], gain: Tensor | None = None, eps: float = EPS
) -> Quantised:
    q, s, _, levels, *_ = ternary_swiglu_op(x.levels, x.q, x.s, weight, parts, gain, eps)
    return Quantised(q, s, levels)


def _empty_swiglu(
    levels: Tensor, q: Tensor, s: Tensor, weight: Tensor, parts: Sequence[int], gain: Any, eps: float
) -> tuple[Tensor, ...]:
    shape = torch.Size((*s.shape, len(weight) // 2))
    return (
        *empty_rows(shape, s, levels.dtype == torch.bfloat16),
        s.new_empty(s.numel(), len(weight), dtype=levels.dtype),
        torch.empty_like(weight, dtype=torch.int8),
        weight.new_empty(len(weight)),
    )


ternary_swiglu_op = Operator(
    "ternary_swiglu(Tensor levels, Tensor q, Tensor s, Tensor weight, int[] parts, Tensor? gain, float eps)"
    " -> (Tensor, Tensor, Tensor, Tensor, Tensor, Tensor, Tensor)",
    _empty_swiglu,
)
fold_swiglu_op = Operator(
    "fold_swiglu(Tensor dq, Tensor gate_up, Tensor? gain, Tensor s, Tensor r, Tensor row, Tensor column)"
    " -> (Tensor, Tensor, Tensor, Tensor)",
    lambda dq, gate_up, gain, s, r, row, column: (
        *empty_folded(len(gate_up), gate_up.shape[1], s, gate_up.dtype == torch.bfloat16),
        nothing(s) if gain is None else torch.empty_like(gain),
    ),
)


@ternary_swiglu_op.kernel("CPU")
def _ternary_swiglu(
    levels: Tensor, q: Tensor, s: Tensor, weight: Tensor, parts: Sequence[int], gain: Tensor | None, eps: float
) -> tuple[Tensor, ...]:
    w, _, row_scale = _ternarise(weight, parts)
    sums, width = integer_product(rows(q), w), len(weight) // 2
    out_q, out_s, r, out_levels, gate_up, _, _ = _empty_swiglu(levels, q, s, weight, parts, gain, eps)
    gain, bf16 = optional(gain, width), gate_up.dtype == torch.bfloat16
    train.product_swiglu_quantise(
        *(*addresses(sums, s, row_scale, gate_up), bf16, *addresses(gain, out_q, out_s, r)),
        *(s.numel(), width, eps, torch.get_num_threads()),
    )
    return out_q, out_s, r, out_levels, gate_up, w, row_scale


@fold_swiglu_op.kernel("CPU")
def _fold_swiglu(
    dq: Tensor, gate_up: Tensor, gain: Tensor | None, s: Tensor, r: Tensor, row: Tensor, column: Tensor
) -> tuple[Tensor, ...]:
    folded, levels, scale, dgain = fold_swiglu_op.empty(dq, gate_up, gain, s, r, row, column)
    dq = rows(dq)
    tensors = addresses(row, column, gate_up, folded, something(levels), scale, gain, s, r, dgain)
    train.product_swiglu_quantise_backward(
        *(address(dq), dq.dtype == torch.bfloat16, *tensors),
        *(*dq.shape, torch.get_num_threads()),
    )
    return folded, levels, scale, dgain


def _save_swiglu(ctx: Any, inputs: tuple[Any, ...], outputs: tuple[Tensor, ...]) -> None:
    _, q, s, _, _, gain, _ = inputs
    _, out_s, r, _, gate_up, w, row_scale = outputs
    ctx.save_for_backward(q, s, gain, out_s, r, gate_up, w, row_scale)


@ternary_swiglu_op.gradient(_save_swiglu, constants=(0, 1, 2, 4, 5, 6))
def _(ctx: Any, *gradients: Any) -> tuple[Any, ...]:
    q, s, gain, out_s, r, gate_up, w, row_scale = ctx.saved_tensors
    *folded, dgain = fold_swiglu_op(gradients[3], gate_up, gain, out_s, r, s, row_scale)
    dq, dweight = _gradients(folded, q, w, row_scale, (ctx.needs_input_grad[0], ctx.needs_input_grad[3]))
    return dq, None, None, dweight, None, something(dgain), None
