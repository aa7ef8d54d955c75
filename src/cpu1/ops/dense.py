"""Full-precision products, in bf16 on request: alone, after a norm, and as a perceptron.

Shapes: M rows (all leading dimensions as one), K inputs, N outputs, D width, H hidden width.
"""

from typing import Any

import torch
from torch import Tensor

from cpu1.ops import reference
from cpu1.ops.native import addresses, fast_form_of, is_bf16, rows, train
from cpu1.ops.operator import Operator, absent, none_if_absent
from cpu1.ops.products import product
from cpu1.ops.reference import EPS, Precision
from cpu1.ops.rows import norm_rows, norm_rows_backward


def narrow(matrix: Tensor, sums: bool = False) -> tuple[Tensor, Tensor]:
    """An fp32 matrix (M, N) in bf16, and with `sums` its sums over the rows (N,), else an empty tensor."""
    out, total = torch.empty_like(matrix, dtype=torch.bfloat16), matrix.new_empty(matrix.shape[1] if sums else 0)
    paths = (*addresses(none_if_absent(total), None, None, None, None), [], 0)
    train.fold(*addresses(matrix, None, None, out), True, 0, 0, *paths, *matrix.shape, torch.get_num_threads())
    return out, total


def widen(matrix: Tensor, bias: Tensor | None = None, residual: Tensor | None = None) -> Tensor:
    """A bf16 matrix (M, N) in fp32, plus `bias` (N,) and `residual` (M, N) where given."""
    out = torch.empty_like(matrix, dtype=torch.float32)
    train.widen(*addresses(matrix, None, bias, residual, out), *matrix.shape, torch.get_num_threads())
    return out


# ----------------------------------------------------------------------------------------- linear


@fast_form_of(reference.linear)
def linear(
    x: Tensor, weight: Tensor, bias: Tensor | None = None, norm: bool = False, precision: Precision | None = None
) -> Tensor:
    if not is_bf16(x, precision):
        return reference.linear(x, weight, bias, norm)
    y, *_ = linear_op(x, weight, bias, norm)
    return y


def _empty_linear(x: Tensor, weight: Tensor, bias: Any, norm: bool) -> tuple[Tensor, ...]:
    return (
        x.new_empty(*x.shape[:-1], len(weight)),
        absent(x).to(torch.bfloat16) if norm else x.new_empty(rows(x).shape, dtype=torch.bfloat16),
        torch.empty_like(weight, dtype=torch.bfloat16),
    )


linear_op = Operator(
    "linear(Tensor x, Tensor weight, Tensor? bias, bool norm) -> (Tensor, Tensor, Tensor)", _empty_linear
)
linear_backward_op = Operator(
    "linear_backward(Tensor dy, Tensor? x, Tensor narrow_x, Tensor narrow_weight, bool bias)"
    " -> (Tensor, Tensor, Tensor)",
    lambda dy, x, narrow_x, narrow_weight, bias: (
        dy.new_empty(*dy.shape[:-1], narrow_weight.shape[-1]),
        torch.empty_like(narrow_weight, dtype=torch.float32),
        dy.new_empty(len(narrow_weight) if bias else 0),
    ),
)


@linear_op.kernel("CPU")
def _linear(x: Tensor, weight: Tensor, bias: Tensor | None, norm: bool) -> tuple[Tensor, ...]:
    flat = rows(x)
    narrow_x = norm_rows(flat, None, EPS, torch.bfloat16)[0] if norm else narrow(flat)[0]
    narrow_weight, _ = narrow(weight.contiguous())
    y = widen(product(narrow_x, narrow_weight.t()), bias).view(*x.shape[:-1], len(weight))
    return y, narrow_x.new_empty(0) if norm else narrow_x, narrow_weight


@linear_backward_op.kernel("CPU")
def _linear_backward(
    dy: Tensor, x: Tensor | None, narrow_x: Tensor, narrow_weight: Tensor, bias: bool
) -> tuple[Tensor, Tensor, Tensor]:
    """After a norm, x is given and its norm is computed again: x is kept for other gradients anyway."""
    narrow_dy, dbias = narrow(rows(dy), sums=bias)
    dx = product(narrow_dy, narrow_weight)
    if x is None:
        dx = widen(dx)
    else:
        narrow_x, r = norm_rows(rows(x), None, EPS, torch.bfloat16)
        dx, _ = norm_rows_backward(dx, rows(x), r)
    return dx.view(*dy.shape[:-1], -1), widen(product(narrow_dy.t(), narrow_x)), dbias


def _save_linear(ctx: Any, inputs: tuple[Any, ...], outputs: tuple[Tensor, ...]) -> None:
    x, _, bias, norm = inputs
    ctx.save_for_backward(x if norm else None, *outputs[1:])
    ctx.bias = bias is not None


@linear_op.gradient(_save_linear, constants=(1, 2))
def _(ctx: Any, dy: Tensor, *_: None) -> tuple[Any, ...]:
    dx, dweight, dbias = linear_backward_op(dy, *ctx.saved_tensors, ctx.bias)
    return dx, dweight, none_if_absent(dbias), None


# ------------------------------------------------------------------------------------- perceptron


@fast_form_of(reference.relu2_mlp)
def relu2_mlp(
    x: Tensor, up: Tensor, up_bias: Tensor, down: Tensor, down_bias: Tensor, precision: Precision | None = None
) -> Tensor:
    if not is_bf16(x, precision):
        return reference.relu2_mlp(x, up, up_bias, down, down_bias)
    y, *_ = relu2_mlp_op(x, up, up_bias, down, down_bias)
    return y


def _empty_mlp(x: Tensor, up: Tensor, up_bias: Tensor, down: Tensor, down_bias: Tensor) -> tuple[Tensor, ...]:
    bf16, count = torch.bfloat16, x.numel() // x.shape[-1]
    return (
        torch.empty_like(x),
        x.new_empty(count, len(up), dtype=bf16),
        torch.empty_like(up, dtype=bf16),
        torch.empty_like(down, dtype=bf16),
    )


relu2_mlp_op = Operator(
    "relu2_mlp(Tensor x, Tensor up, Tensor up_bias, Tensor down, Tensor down_bias) -> (Tensor, Tensor, Tensor, Tensor)",
    _empty_mlp,
)
relu2_mlp_backward_op = Operator(
    "relu2_mlp_backward(Tensor dy, Tensor x, Tensor up_bias, Tensor a, Tensor up, Tensor down)"
    " -> (Tensor, Tensor, Tensor, Tensor, Tensor)",
    lambda dy, x, up_bias, a, up, down: (
        torch.empty_like(x),
        torch.empty_like(up, dtype=torch.float32),
        torch.empty_like(up_bias),
        torch.empty_like(down, dtype=torch.float32),
        dy.new_empty(len(down)),
    ),
)


@relu2_mlp_op.kernel("CPU")
def _relu2_mlp(x: Tensor, up: Tensor, up_bias: Tensor, down: Tensor, down_bias: Tensor) -> tuple[Tensor, ...]:
    flat = rows(x)
    normed, _ = norm_rows(flat, None, EPS, torch.bfloat16)
    narrow_up, narrow_down = narrow(up)[0], narrow(down)[0]
    a = product(normed, narrow_up.t())
    y = widen(product(_relu2(a, up_bias), narrow_down.t()), down_bias, residual=flat)
    return y.view(x.shape), a, narrow_up, narrow_down


def _relu2(a: Tensor, bias: Tensor) -> Tensor:
    """relu(a + bias)² in bf16."""
    out = torch.empty_like(a)
    train.relu2(*addresses(a, bias, out), *a.shape, torch.get_num_threads())
    return out


@relu2_mlp_backward_op.kernel("CPU")
def _relu2_mlp_backward(
    dy: Tensor, x: Tensor, up_bias: Tensor, a: Tensor, up: Tensor, down: Tensor
) -> tuple[Tensor, ...]:
    """Computes the norm and the hidden units again: to keep the latter would cost the most memory of all tensors."""
    flat = rows(dy)
    normed, r = norm_rows(rows(x), None, EPS, torch.bfloat16)
    narrow_dy, ddown_bias = narrow(flat, sums=True)
    ddown = widen(product(narrow_dy.t(), _relu2(a, up_bias)))
    da, dup_bias = product(narrow_dy, down), torch.empty_like(up_bias)
    train.relu2_backward(*addresses(a, up_bias, da, da, dup_bias), *a.shape, torch.get_num_threads())  # in place
    dx, _ = norm_rows_backward(product(da, up), rows(x), r, residual=flat)
    return dx.view(x.shape), widen(product(da.t(), normed)), dup_bias, ddown, ddown_bias


def _save_mlp(ctx: Any, inputs: tuple[Any, ...], outputs: tuple[Tensor, ...]) -> None:
    ctx.save_for_backward(inputs[0], inputs[2], *outputs[1:])


@relu2_mlp_op.gradient(_save_mlp, constants=(1, 2, 3))
def _(ctx: Any, dy: Tensor, *_: None) -> tuple[Tensor, ...]:
    return relu2_mlp_backward_op(dy, *ctx.saved_tensors)
