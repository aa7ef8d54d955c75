"""The ternary product, exact in integers, and its straight-through gradients.

Shapes: M rows (all leading dimensions as one), K inputs, N outputs, R rank of a low-rank path, H hidden width.
`row_scale` (N,) holds γ once for each row of the weight; `parts` are the rows of the matrices stacked in it.
"""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from cpu1.ops import reference
from cpu1.ops.native import address, addresses, dense, fast_form_of, gradient_dtype, optional, rows, train
from cpu1.ops.operator import Operator, absent, none_if_absent
from cpu1.ops.products import gradient_in_shorts, integer_product, product, weight_gradient
from cpu1.ops.quantiser import empty_rows, quantise
from cpu1.ops.reference import EPS, Precision, Quantised

# -------------------------------------------------------------------------------------- ternarise


@fast_form_of(reference.ternarise)
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
    """BitLinear (BitNet b1.58, arXiv 2402.17764): y (..., N), the `ternary_linear` of the `quantise` of x (..., K).

    The arguments are those of the two operations; `precision` is the dtype of gradients, None as torch.autocast.
    """
    return ternary_linear(quantise(x, gain, eps, precision), weight, parts)


@fast_form_of(reference.ternary_linear)
def ternary_linear(
    x: Quantised, weight: Tensor, parts: Sequence[int], inner: Tensor | None = None, up: Tensor | None = None
) -> Tensor:
    y, _, _ = ternary_linear_op(x.q_real, x.q, x.s, weight, parts, inner, up)
    return y


ternary_linear_op = Operator(
    "ternary_linear(Tensor q_real, Tensor q, Tensor s, Tensor weight, int[] parts, Tensor? inner, Tensor? up)"
    " -> (Tensor, Tensor, Tensor)",
    lambda q_real, q, s, weight, parts, inner, up: (
        s.new_empty(*s.shape, len(weight)),
        torch.empty_like(weight, dtype=torch.int8),
        weight.new_empty(len(weight)),
    ),
)


def empty_scaled(count: int, width: int, like: Tensor, bf16: bool) -> tuple[Tensor, Tensor, Tensor]:
    """Outputs for a scaled gradient (M, N) = (`count`, `width`), fp32 or bf16.

    In bf16 there are also its rows rounded to int8 (M, N) and their scales (M,); in fp32 both are `absent`.
    """
    scaled = like.new_empty(count, width, dtype=gradient_dtype(bf16))
    if not bf16:
        return scaled, absent(like), absent(like)
    return scaled, torch.empty_like(scaled, dtype=torch.int8), like.new_empty(count)


scale_gradient_op = Operator(
    "scale_gradient(Tensor dy, Tensor s, Tensor row_scale, bool bf16, int[] parts, Tensor? inner, Tensor? up)"
    " -> (Tensor, Tensor, Tensor, Tensor, Tensor)",
    lambda dy, s, row_scale, bf16, parts, inner, up: (
        *empty_scaled(s.numel(), dy.shape[-1], dy, bf16),
        *(absent(dy) if tensor is None else torch.empty_like(tensor) for tensor in (inner, up)),
    ),
)
unscale_gradient_op = Operator(
    "unscale_gradient(Tensor dw, Tensor row_scale) -> Tensor",
    lambda dw, row_scale: torch.empty_like(dw, dtype=torch.float32),
)
integer_gradient_op = Operator(
    "integer_gradient(Tensor int8_rows, Tensor scale, Tensor w) -> Tensor",
    lambda int8_rows, scale, w: scale.new_empty(len(int8_rows), w.shape[1], dtype=torch.bfloat16),
)
cast_int8_op = Operator(
    "cast_int8(Tensor q, bool bf16) -> Tensor", lambda q, bf16: torch.empty_like(q, dtype=gradient_dtype(bf16))
)

weight_gradient_op = Operator(
    "weight_gradient(Tensor scaled, Tensor q, Tensor row_scale) -> Tensor",
    lambda scaled, q, row_scale: row_scale.new_empty(scaled.shape[1], q.shape[1]),
)
weight_gradient_op.kernel("CPU")(weight_gradient)


@ternary_linear_op.kernel("CPU")
def _ternary_linear(
    q_real: Tensor, q: Tensor, s: Tensor, weight: Tensor, parts: Sequence[int], inner: Tensor | None, up: Tensor | None
) -> tuple[Tensor, Tensor, Tensor]:
    w, _, row_scale = _ternarise(weight, parts)
    sums = integer_product(rows(q), w)
    inner, up, rank = _low_rank(inner, up, s, parts)
    low_rank = (*addresses(inner, up), list(parts), rank)
    train.dequantise(*addresses(sums, s, row_scale), *low_rank, *sums.shape, torch.get_num_threads())
    return sums.view(torch.float32).view(*s.shape, len(w)), w, row_scale


def _low_rank(
    inner: Tensor | None, up: Tensor | None, s: Tensor, parts: Sequence[int]
) -> tuple[Tensor | None, Tensor | None, int]:
    """`inner` (..., parts * R) and `up` as (R, N), both contiguous, and R; (None, None, 0) without a path."""
    if inner is None or up is None:
        return None, None, 0
    rank = up.shape[1]
    return dense(inner, *s.shape, len(parts) * rank), dense(up, sum(parts), rank).t().contiguous(), rank


@scale_gradient_op.kernel("CPU")
def _scale_gradient(
    dy: Tensor, s: Tensor, row_scale: Tensor, bf16: bool, parts: Sequence[int], inner: Tensor | None, up: Tensor | None
) -> tuple[Tensor, ...]:
    flat = rows(dy)
    inner, up, rank = _low_rank(inner, up, s, parts)
    out, int8_rows, scale, dinner, dup = scale_gradient_op.empty(dy, s, row_scale, bf16, parts, inner, up)
    paths = (*addresses(none_if_absent(int8_rows), scale, None, inner, up, dinner, dup), list(parts), rank)
    train.fold(*addresses(flat, s, row_scale, out), bf16, *paths, *flat.shape, torch.get_num_threads())
    return out, int8_rows, scale, dinner, dup if up is None else dup.t().contiguous()


@unscale_gradient_op.kernel("CPU")
def _unscale_gradient(dw: Tensor, row_scale: Tensor) -> Tensor:
    if dw.dtype == torch.float32:
        return dw / row_scale[:, None]
    out = unscale_gradient_op.empty(dw, row_scale)
    train.widen(*addresses(dw, row_scale, None, None, out), *dw.shape, torch.get_num_threads())
    return out


@cast_int8_op.kernel("CPU")
def _cast_int8(q: Tensor, bf16: bool) -> Tensor:
    if not bf16:
        return q.float()
    out = cast_int8_op.empty(q, bf16)
    train.int8_to_bf16(*addresses(q, out), q.numel(), torch.get_num_threads())
    return out


@integer_gradient_op.kernel("CPU")
def _integer_gradient(int8_rows: Tensor, scale: Tensor, w: Tensor) -> Tensor:
    sums, out = integer_product(int8_rows, w, transposed=True), integer_gradient_op.empty(int8_rows, scale, w)
    train.narrow_sums(*addresses(sums, scale, out), *sums.shape, torch.get_num_threads())
    return out


def _gradients(
    scaled: tuple[Tensor, Tensor, Tensor], q: Tensor, w: Tensor, row_scale: Tensor, wanted: tuple[bool, bool]
) -> Any:
    """Gradients of q and of the weight, None where not wanted. `scaled` holds dy s γ (M, N), see `empty_scaled`.

    dq = (dy s γ) w and dW = (dy s γ)ᵀ q / γ. bf16 rounds dy s γ once and holds q exactly. With the rows of dy s γ in
    int8 as well, dq is a product of integers at twice the speed, and the rounding acts like noise in a gradient
    (SwitchBack, arXiv 2304.13013). dW sums over rows, whose scales differ, and stays in bf16; a CPU that multiplies 16
    bits but not bf16 sums it more exactly.
    """
    matrix, int8_rows, scale = scaled
    bf16 = matrix.dtype == torch.bfloat16
    dq = dweight = None
    if wanted[0] and int8_rows.numel():
        dq = integer_gradient_op(int8_rows, scale, w).view(q.shape)
    elif wanted[0]:
        dq = product(matrix, cast_int8_op(w, bf16)).view(q.shape)
    if wanted[1]:
        flat = q.view(-1, q.shape[-1])
        if bf16 and matrix.device.type == "cpu" and gradient_in_shorts(*w.shape):
            dweight = weight_gradient_op(matrix, flat, row_scale)
        else:
            dweight = unscale_gradient_op(product(matrix.t(), cast_int8_op(flat, bf16)), row_scale)
    return dq, dweight


def _save(ctx: Any, inputs: tuple[Any, ...], outputs: tuple[Tensor, ...]) -> None:
    q_real, q, s, _, parts, inner, up = inputs
    ctx.save_for_backward(q, s, *outputs[1:], inner, up)
    ctx.parts, ctx.bf16 = parts, q_real.dtype == torch.bfloat16


@ternary_linear_op.gradient(_save, constants=(1, 2))
def _(ctx: Any, dy: Tensor, *_: None) -> tuple[Any, ...]:
    q, s, w, row_scale, inner, up = ctx.saved_tensors
    *scaled, dinner, dup = scale_gradient_op(dy, s, row_scale, ctx.bf16, ctx.parts, inner, up)
    dq, dweight = _gradients(scaled, q, w, row_scale, (ctx.needs_input_grad[0], ctx.needs_input_grad[3]))
    return dq, None, None, dweight, None, none_if_absent(dinner), none_if_absent(dup)


# ------------------------------------------------------------------- product, SwiGLU and quantiser


@fast_form_of(reference.ternary_swiglu)
def ternary_swiglu(
    x: Quantised, weight: Tensor, parts: Sequence[int], gain: Tensor | None = None, eps: float = EPS
) -> Quantised:
    q, s, _, q_real, *_ = ternary_swiglu_op(x.q_real, x.q, x.s, weight, parts, gain, eps)
    return Quantised(q, s, q_real)


def _empty_swiglu(
    q_real: Tensor, q: Tensor, s: Tensor, weight: Tensor, parts: Sequence[int], gain: Any, eps: float
) -> tuple[Tensor, ...]:
    shape = torch.Size((*s.shape, len(weight) // 2))
    return (
        *empty_rows(shape, s, q_real.dtype == torch.bfloat16),
        s.new_empty(s.numel(), len(weight), dtype=q_real.dtype),
        torch.empty_like(weight, dtype=torch.int8),
        weight.new_empty(len(weight)),
    )


ternary_swiglu_op = Operator(
    "ternary_swiglu(Tensor q_real, Tensor q, Tensor s, Tensor weight, int[] parts, Tensor? gain, float eps)"
    " -> (Tensor, Tensor, Tensor, Tensor, Tensor, Tensor, Tensor)",
    _empty_swiglu,
)
scale_swiglu_gradient_op = Operator(
    "scale_swiglu_gradient(Tensor dq, Tensor gate_up, Tensor? gain, Tensor s, Tensor r, Tensor row, Tensor column)"
    " -> (Tensor, Tensor, Tensor, Tensor)",
    lambda dq, gate_up, gain, s, r, row, column: (
        *empty_scaled(len(gate_up), gate_up.shape[1], s, gate_up.dtype == torch.bfloat16),
        absent(s) if gain is None else torch.empty_like(gain),
    ),
)


@ternary_swiglu_op.kernel("CPU")
def _ternary_swiglu(
    q_real: Tensor, q: Tensor, s: Tensor, weight: Tensor, parts: Sequence[int], gain: Tensor | None, eps: float
) -> tuple[Tensor, ...]:
    w, _, row_scale = _ternarise(weight, parts)
    sums, width = integer_product(rows(q), w), len(weight) // 2
    out_q, out_s, r, out_q_real, gate_up, _, _ = _empty_swiglu(q_real, q, s, weight, parts, gain, eps)
    gain, bf16 = optional(gain, width), gate_up.dtype == torch.bfloat16
    train.product_swiglu_quantise(
        *(*addresses(sums, s, row_scale, gate_up), bf16, *addresses(gain, out_q, out_s, r)),
        *(s.numel(), width, eps, torch.get_num_threads()),
    )
    return out_q, out_s, r, out_q_real, gate_up, w, row_scale


@scale_swiglu_gradient_op.kernel("CPU")
def _scale_swiglu_gradient(
    dq: Tensor, gate_up: Tensor, gain: Tensor | None, s: Tensor, r: Tensor, row: Tensor, column: Tensor
) -> tuple[Tensor, ...]:
    scaled, int8_rows, scale, dgain = scale_swiglu_gradient_op.empty(dq, gate_up, gain, s, r, row, column)
    dq = rows(dq)
    tensors = addresses(row, column, gate_up, scaled, none_if_absent(int8_rows), scale, gain, s, r, dgain)
    train.product_swiglu_quantise_backward(
        *(address(dq), dq.dtype == torch.bfloat16, *tensors), *(*dq.shape, torch.get_num_threads())
    )
    return scaled, int8_rows, scale, dgain


def _save_swiglu(ctx: Any, inputs: tuple[Any, ...], outputs: tuple[Tensor, ...]) -> None:
    _, q, s, _, _, gain, _ = inputs
    _, out_s, r, _, gate_up, w, row_scale = outputs
    ctx.save_for_backward(q, s, gain, out_s, r, gate_up, w, row_scale)


@ternary_swiglu_op.gradient(_save_swiglu, constants=(0, 1, 2, 4, 5, 6))
def _(ctx: Any, *gradients: Any) -> tuple[Any, ...]:
    q, s, gain, out_s, r, gate_up, w, row_scale = ctx.saved_tensors
    *scaled, dgain = scale_swiglu_gradient_op(gradients[3], gate_up, gain, out_s, r, s, row_scale)
    dq, dweight = _gradients(scaled, q, w, row_scale, (ctx.needs_input_grad[0], ctx.needs_input_grad[3]))
    return dq, None, None, dweight, None, none_if_absent(dgain), None
