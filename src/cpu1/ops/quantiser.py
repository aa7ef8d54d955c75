"""Activations to int8 (the quantiser of BitLinear), alone and fused with the operation that computes them.

Shapes: B streams, T steps, D width, M rows (all leading dimensions as one), K inputs.
"""

from typing import Any

import torch
from torch import Tensor

from cpu1.ops import reference
from cpu1.ops.native import address, addresses, dense, fast_form_of, gradient_dtype, is_bf16, optional, rows, train
from cpu1.ops.operator import Operator, absent, none_if_absent
from cpu1.ops.reference import EPS, Precision, Quantised
from cpu1.ops.rows import norm_rows_backward
from cpu1.ops.scan import gate_scan_rows, gate_scan_rows_backward


def empty_rows(shape: torch.Size, like: Tensor, bf16: bool) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Outputs of a quantiser for activations of `shape` (..., K): q int8 (..., K), s and r (...), and q_real (..., K).

    q_real has no values and shares one number's memory: it carries a gradient of its dtype, nothing else.
    """
    scales = like.new_empty(shape[:-1])
    q_real = like.new_empty(1, dtype=gradient_dtype(bf16)).expand(shape)
    return like.new_empty(shape, dtype=torch.int8), scales, torch.empty_like(scales), q_real


# ------------------------------------------------------------------------------------------ plain


@fast_form_of(reference.quantise)
def quantise(x: Tensor, gain: Tensor | None = None, eps: float = EPS, precision: Precision | None = None) -> Quantised:
    q, s, _, q_real = quantise_op(x, gain, eps, is_bf16(x, precision))
    return Quantised(q, s, q_real)


quantise_op = Operator(
    "quantise(Tensor x, Tensor? gain, float eps, bool bf16) -> (Tensor, Tensor, Tensor, Tensor)",
    lambda x, gain, eps, bf16: empty_rows(x.shape, x, bf16),
)
quantise_backward_op = Operator(
    "quantise_backward(Tensor dq, Tensor x, Tensor? gain, Tensor s, Tensor r) -> (Tensor, Tensor)",
    lambda dq, x, gain, s, r: (torch.empty_like(x), absent(x) if gain is None else torch.empty_like(gain)),
)


@quantise_op.kernel("CPU")
def _quantise(x: Tensor, gain: Tensor | None, eps: float, bf16: bool) -> tuple[Tensor, ...]:
    flat, gain = rows(x), optional(gain, x.shape[-1])
    q, s, r, q_real = empty_rows(x.shape, x, bf16)
    train.quantise(*addresses(flat, gain, q, s, r), *flat.shape, eps, torch.get_num_threads())
    return q, s, r, q_real


@quantise_backward_op.kernel("CPU")
def _quantise_backward(dq: Tensor, x: Tensor, gain: Tensor | None, s: Tensor, r: Tensor) -> tuple[Tensor, Tensor]:
    dx, dgain = norm_rows_backward(rows(dq), rows(x), r, optional(gain, x.shape[-1]), divide=s)
    return dx.view(x.shape), absent(x) if dgain is None else dgain


@quantise_op.gradient(lambda ctx, inputs, out: ctx.save_for_backward(*inputs[:2], *out[1:3]), constants=(0, 1, 2))
def _(ctx: Any, *gradients: Any) -> tuple[Any, ...]:
    dx, dgain = quantise_backward_op(gradients[3], *ctx.saved_tensors)
    return dx, none_if_absent(dgain), None, None


# -------------------------------------------------------------------------------- after the MLGRU


@fast_form_of(reference.mlgru_quantise)
def mlgru_quantise(
    fcg: Tensor,
    gain: Tensor | None = None,
    keep: Tensor | None = None,
    h0: Tensor | None = None,
    precision: Precision | None = None,
) -> tuple[Quantised, Tensor]:
    q, s, _, q_real, _, h_last = mlgru_quantise_op(fcg, gain, keep, h0, is_bf16(fcg, precision))
    return Quantised(q, s, q_real), h_last


def _empty_mixed(fcg: Tensor, gain: Any, keep: Any, h0: Any, bf16: bool) -> tuple[Tensor, ...]:
    batch, time, stacked = fcg.shape
    shape = torch.Size((batch, time, stacked // 3))
    return *empty_rows(shape, fcg, bf16), fcg.new_empty(shape), fcg.new_empty(batch, stacked // 3)


mlgru_quantise_op = Operator(
    "mlgru_quantise(Tensor fcg, Tensor? gain, Tensor? keep, Tensor? h0, bool bf16)"
    " -> (Tensor, Tensor, Tensor, Tensor, Tensor, Tensor)",
    _empty_mixed,
)
mlgru_quantise_backward_op = Operator(
    "mlgru_quantise_backward(Tensor dq, Tensor fcg, Tensor? gain, Tensor? keep, Tensor? h0, Tensor s, Tensor r,"
    " Tensor h) -> (Tensor, Tensor, Tensor, Tensor)",
    lambda dq, fcg, gain, keep, h0, s, r, h: (
        torch.empty_like(fcg),
        *(absent(fcg) if tensor is None else torch.empty_like(tensor) for tensor in (gain, keep, h0)),
    ),
)


@mlgru_quantise_op.kernel("CPU")
def _mlgru_quantise(
    fcg: Tensor, gain: Tensor | None, keep: Tensor | None, h0: Tensor | None, bf16: bool
) -> tuple[Tensor, ...]:
    h = gate_scan_rows(fcg, keep, h0)
    width = h.shape[-1]
    fcg, gain = fcg.contiguous(), optional(gain, width)
    q, s, r, q_real = empty_rows(h.shape, fcg, bf16)
    train.gated_norm_quantise(
        *(address(h), address(fcg, 2 * width), 3 * width),
        *addresses(gain, q, s, r),
        *(s.numel(), width, EPS, torch.get_num_threads()),
    )
    return q, s, r, q_real, h, h[:, -1].clone()


@mlgru_quantise_backward_op.kernel("CPU")
def _mlgru_quantise_backward(
    dq: Tensor,
    fcg: Tensor,
    gain: Tensor | None,
    keep: Tensor | None,
    h0: Tensor | None,
    s: Tensor,
    r: Tensor,
    h: Tensor,
) -> tuple[Tensor, ...]:
    width = h.shape[-1]
    dq, fcg = dense(dq, *h.shape), fcg.contiguous()
    dfcg, dgain = torch.empty_like(fcg), absent(fcg) if gain is None else torch.empty_like(gain)
    train.gated_norm_quantise_backward(
        *(address(dq), dq.dtype == torch.bfloat16, address(h), address(fcg, 2 * width)),
        *(address(dfcg, width), address(dfcg, 2 * width), 3 * width),  # dh waits where dc will be written
        *addresses(gain, s, r, dgain),
        *(s.numel(), width, EPS, torch.get_num_threads()),
    )
    dkeep, dh0 = gate_scan_rows_backward(fcg, keep, h0, h, dfcg)
    return dfcg, dgain, dkeep, dh0


def _save_mixed(ctx: Any, inputs: tuple[Any, ...], out: tuple[Tensor, ...]) -> None:
    _, s, r, _, h, _ = out
    ctx.save_for_backward(*inputs[:4], s, r, h)


@mlgru_quantise_op.gradient(_save_mixed, constants=(0, 1, 2, 4, 5))
def _(ctx: Any, *gradients: Any) -> tuple[Any, ...]:
    return *map(none_if_absent, mlgru_quantise_backward_op(gradients[3], *ctx.saved_tensors)), None
