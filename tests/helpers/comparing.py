"""How fast operations are compared with the reference, whatever they run on."""

from collections.abc import Callable

import torch
from torch import Tensor

from cpu1 import ops
from cpu1.ops import reference

Op = Callable[..., Tensor]


def run(op: Op, *inputs: Tensor | None, **options: object) -> list[Tensor]:
    """The output of op and the gradients of all inputs under fixed weights, after fresh leaves of each."""
    leaves = [None if x is None else x.detach().clone().requires_grad_() for x in inputs]
    y = op(*leaves, **options)
    probe = torch.linspace(-1, 2, y.numel(), dtype=torch.float64).to(y.dtype).view(y.shape)
    (y * probe).sum().backward()
    return [y.detach(), *(leaf.grad for leaf in leaves if leaf is not None and leaf.grad is not None)]


def check(fast: Op, plain: Op, *inputs: Tensor | None, rtol: float = 1e-5, **options: object) -> None:
    """fp32 `fast` against float64 `plain`: as near as fp32 arithmetic in the plain order is, or nearly."""
    wide = [x if x is None else x.double() for x in inputs]
    results = run(fast, *inputs, **options), run(plain, *inputs, **options), run(plain, *wide, **options)
    for got, narrow, want in zip(*results, strict=True):
        assert got.dtype == torch.float32
        assert got.shape == want.shape
        unavoidable = (narrow - want).abs().max()
        assert (got - want).abs().max() <= rtol * want.abs().max() + 4 * unavoidable


def both(name: str) -> tuple[Op, Op]:
    return getattr(ops, name), getattr(reference, name)


def plainly(op: Op) -> Op:
    """The same operation with every step of it the reference's."""

    def call(*args: object, **options: object) -> Tensor:
        with ops.use_reference():
            return op(*args, **options)

    return call


def keeps(batch: int, time: int) -> list[Tensor | None]:
    soft = torch.rand(batch, time)
    return [None, soft, soft.round()]


def close_to_plain(op: Op, inputs: tuple[Tensor, ...], precision: str) -> None:
    """Output and gradients near those of the reference, in the Euclidean norm of each."""
    for got, want in zip(run(op, *inputs), run(plainly(op), *inputs), strict=True):
        assert got.dtype == torch.float32
        assert (got - want).norm() <= (2e-2 if precision == "bf16" else 1e-5) * want.norm() + 1e-6
