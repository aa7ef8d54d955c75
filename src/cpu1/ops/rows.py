"""Operations on rows: the norm, the quantiser, the gated unit."""

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from cpu1.ops import reference
from cpu1.ops.native import address, beside, dense, optional, rows, train
from cpu1.ops.reference import EPS


@beside(reference.rms_norm)
def rms_norm(x: Tensor, gain: Tensor | None = None, eps: float = EPS) -> Tensor:
    y: Tensor = _RmsNorm.apply(x, gain, eps)
    return y


@beside(reference.swiglu)
def swiglu(gate_up: Tensor) -> Tensor:
    y: Tensor = _SwiGlu.apply(gate_up)
    return y


@beside(reference.quantise)
def quantise(x: Tensor, gain: Tensor | None = None, eps: float = EPS) -> tuple[Tensor, Tensor]:
    q, s, _ = quantise_rows(rows(x), optional(gain, x.shape[-1]), eps)
    return q.view(x.shape), s.view(x.shape[:-1])


def quantise_rows(x: Tensor, gain: Tensor | None, eps: float) -> tuple[Tensor, Tensor, Tensor]:
    """q, s and r = 1 / sqrt(mean(x²) + eps) (M,) of contiguous x (M, K)."""
    q, s, r = torch.empty_like(x, dtype=torch.int8), x.new_empty(len(x)), x.new_empty(len(x))
    tensors = (address(tensor) for tensor in (x, gain, q, s, r))
    train.quantise(*tensors, *x.shape, eps, torch.get_num_threads())
    return q, s, r


def rms_norm_backward(
    dy: Tensor, x: Tensor, r: Tensor, gain: Tensor | None, divide: Tensor | None = None
) -> tuple[Tensor, Tensor | None]:
    """Gradients of x (M, K) and gain (K,) from dy (M, K), fp32 or bf16, its rows divided by `divide` (M,)."""
    dx = torch.empty_like(x)
    dgain = None if gain is None else torch.empty_like(gain)
    tensors = (address(tensor) for tensor in (divide, x, r, gain, dx, dgain))
    train.rms_norm_backward(
        address(dense(dy, *x.shape)), dy.dtype == torch.bfloat16, *tensors, *x.shape, torch.get_num_threads()
    )
    return dx, dgain


class _RmsNorm(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, gain: Tensor | None, eps: float) -> Tensor:
        flat, gain = rows(x), optional(gain, x.shape[-1])
        y, r = torch.empty_like(flat), x.new_empty(len(flat))
        tensors = (address(tensor) for tensor in (flat, gain, y, r))
        train.rms_norm(*tensors, *flat.shape, eps, torch.get_num_threads())
        ctx.save_for_backward(flat, gain, r)
        return y.view(x.shape)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, dy: Tensor) -> tuple[Tensor | None, ...]:
        x, gain, r = ctx.saved_tensors
        dx, dgain = rms_norm_backward(rows(dy), x, r, gain)
        return dx.view(dy.shape), dgain, None


class _SwiGlu(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, gate_up: Tensor) -> Tensor:
        flat = rows(gate_up)
        width = flat.shape[1] // 2
        flat = dense(flat, len(flat), 2 * width)
        y = flat.new_empty(len(flat), width)
        train.swiglu(address(flat), address(y), *y.shape, torch.get_num_threads())
        ctx.save_for_backward(flat)
        return y.view(*gate_up.shape[:-1], width)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, dy: Tensor) -> Tensor:
        (gate_up,) = ctx.saved_tensors
        dgate_up = torch.empty_like(gate_up)
        flat = rows(dy)
        train.swiglu_backward(address(gate_up), address(flat), address(dgate_up), *flat.shape, torch.get_num_threads())
        return dgate_up.view(*dy.shape[:-1], gate_up.shape[1])
