"""Operations on rows: the norm, the gated unit, the branch of a residual stream.

Shapes: B streams, T steps, D width, H hidden width, M rows (all leading dimensions as one), K their width.
"""

from typing import Any

import torch
from torch import Tensor

from cpu1.ops import reference
from cpu1.ops.native import addresses, dense, fast_form_of, gradient_dtype, is_bf16, optional, rows, train
from cpu1.ops.operator import Operator, absent, none_if_absent
from cpu1.ops.reference import EPS, Precision

# ------------------------------------------------------------------------------------------- norm


@fast_form_of(reference.rms_norm)
def rms_norm(x: Tensor, gain: Tensor | None = None, eps: float = EPS) -> Tensor:
    y, _ = norm_op(x, gain, eps)
    return y


def norm_rows(x: Tensor, gain: Tensor | None, eps: float, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
    """The norm y (M, K) of x (M, K), times `gain` (K,) if given, in `dtype`; and r = 1 / sqrt(mean(x²) + eps) (M,)."""
    y, r = torch.empty_like(x, dtype=dtype), x.new_empty(len(x))
    bf16 = dtype == torch.bfloat16
    train.rms_norm(*addresses(x, gain, y), bf16, *addresses(r), *x.shape, eps, torch.get_num_threads())
    return y, r


def norm_rows_backward(
    dy: Tensor,
    x: Tensor,
    r: Tensor,
    gain: Tensor | None = None,
    divide: Tensor | None = None,
    residual: Tensor | None = None,
) -> tuple[Tensor, Tensor | None]:
    """Gradients of x (M, K) and gain (K,) from dy (M, K), fp32 or bf16, its rows divided by `divide` (M,).

    `residual` (M, K) is the gradient that reaches x past the norm; it is added to that of x.
    """
    dx, dgain = torch.empty_like(x), None if gain is None else torch.empty_like(gain)
    dy, bf16 = dense(dy, *x.shape), dy.dtype == torch.bfloat16
    tensors = addresses(divide, x, r, gain, residual, dx, dgain)
    train.rms_norm_backward(*addresses(dy), bf16, *tensors, *x.shape, torch.get_num_threads())
    return dx, dgain


norm_op = Operator(
    "rms_norm(Tensor x, Tensor? gain, float eps) -> (Tensor, Tensor)",
    lambda x, gain, eps: (torch.empty_like(x), x.new_empty(x.shape[:-1])),
)
norm_backward_op = Operator(
    "rms_norm_backward(Tensor dy, Tensor x, Tensor r, Tensor? gain) -> (Tensor, Tensor)",
    lambda dy, x, r, gain: (torch.empty_like(x), absent(x) if gain is None else torch.empty_like(gain)),
)


@norm_op.kernel("CPU")
def _norm(x: Tensor, gain: Tensor | None, eps: float) -> tuple[Tensor, Tensor]:
    y, r = norm_rows(rows(x), optional(gain, x.shape[-1]), eps, torch.float32)
    return y.view(x.shape), r.view(x.shape[:-1])


@norm_backward_op.kernel("CPU")
def _norm_backward(dy: Tensor, x: Tensor, r: Tensor, gain: Tensor | None) -> tuple[Tensor, Tensor]:
    dx, dgain = norm_rows_backward(rows(dy), rows(x), r, optional(gain, x.shape[-1]))
    return dx.view(x.shape), absent(x) if dgain is None else dgain


def _save_norm(ctx: Any, inputs: tuple[Any, ...], outputs: tuple[Tensor, ...]) -> None:
    ctx.save_for_backward(inputs[0], outputs[1], inputs[1])


@norm_op.gradient(_save_norm, constants=(1,))
def _(ctx: Any, dy: Tensor, _: None) -> tuple[Any, ...]:
    dx, dgain = norm_backward_op(dy, *ctx.saved_tensors)
    return dx, none_if_absent(dgain), None


# ----------------------------------------------------------------------------------------- swiglu


@fast_form_of(reference.swiglu)
def swiglu(gate_up: Tensor) -> Tensor:
    y: Tensor = swiglu_op(gate_up)
    return y


swiglu_op = Operator(
    "swiglu(Tensor gate_up) -> Tensor", lambda gate_up: gate_up.new_empty(*gate_up.shape[:-1], gate_up.shape[-1] // 2)
)
swiglu_backward_op = Operator(
    "swiglu_backward(Tensor dy, Tensor gate_up) -> Tensor", lambda dy, gate_up: torch.empty_like(gate_up)
)


@swiglu_op.kernel("CPU")
def _swiglu(gate_up: Tensor) -> Tensor:
    flat, y = even(rows(gate_up)), swiglu_op.empty(gate_up)
    train.swiglu(*addresses(flat, y), len(flat), y.shape[-1], torch.get_num_threads())
    return y


@swiglu_backward_op.kernel("CPU")
def _swiglu_backward(dy: Tensor, gate_up: Tensor) -> Tensor:
    flat, dgate_up = rows(dy), torch.empty_like(gate_up, memory_format=torch.contiguous_format)
    train.swiglu_backward(*addresses(rows(gate_up), flat, dgate_up), *flat.shape, torch.get_num_threads())
    return dgate_up


@swiglu_op.gradient(lambda ctx, inputs, y: ctx.save_for_backward(inputs[0]))
def _(ctx: Any, dy: Tensor) -> Tensor:
    return swiglu_backward_op(dy, *ctx.saved_tensors)


def even(gate_up: Tensor) -> Tensor:
    """`gate_up` (M, 2H) as it is. Raises ValueError for an odd width."""
    return dense(gate_up, len(gate_up), gate_up.shape[1] // 2 * 2)


# ----------------------------------------------------------------------------------------- branch


@fast_form_of(reference.branch)
def branch(x: Tensor, y: Tensor, keep: Tensor | None = None, precision: Precision | None = None) -> Tensor:
    if keep is None:
        return x + y
    out, _ = branch_op(x, y, keep, is_bf16(x, precision))
    return out


branch_op = Operator(
    "branch(Tensor x, Tensor y, Tensor keep, bool bf16) -> (Tensor, Tensor)",  # and y for the backward pass
    lambda x, y, keep, bf16: (torch.empty_like(x), torch.empty_like(y, dtype=gradient_dtype(bf16))),
)
branch_backward_op = Operator(
    "branch_backward(Tensor dout, Tensor kept, Tensor keep) -> (Tensor, Tensor)",
    lambda dout, kept, keep: (torch.empty_like(dout), torch.empty_like(keep)),
)


@branch_op.kernel("CPU")
def _branch(x: Tensor, y: Tensor, keep: Tensor, bf16: bool) -> tuple[Tensor, Tensor]:
    x, y, keep = x.contiguous(), dense(y, *x.shape), dense(keep, *x.shape[:-1])
    out, kept = branch_op.empty(x, y, keep, bf16)
    train.branch(*addresses(x, y, keep, out, kept), bf16, *rows(x).shape, torch.get_num_threads())
    return out, kept


@branch_backward_op.kernel("CPU")
def _branch_backward(dout: Tensor, kept: Tensor, keep: Tensor) -> tuple[Tensor, Tensor]:
    dout, keep, bf16 = dense(dout, *kept.shape), keep.contiguous(), kept.dtype == torch.bfloat16
    dy, dkeep = torch.empty_like(dout), torch.empty_like(keep)
    tensors = addresses(keep, dy, dkeep)
    train.branch_backward(*addresses(dout, kept), bf16, *tensors, *rows(dout).shape, torch.get_num_threads())
    return dy, dkeep


@branch_op.gradient(lambda ctx, inputs, outputs: ctx.save_for_backward(outputs[1], inputs[2]), constants=(1,))
def _(ctx: Any, dout: Tensor, _: None) -> tuple[Any, ...]:
    return dout, *branch_backward_op(dout, *ctx.saved_tensors), None
