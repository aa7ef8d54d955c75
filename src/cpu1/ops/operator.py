"""An operation as torch sees it: schema, shapes, kernels by device, gradient (`torch.library`).

So `torch.compile`, autograd and other devices know it; what a kernel is made of they need not know.
"""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn

LIBRARY = torch.library.Library("cpu1", "DEF")
Setup = Callable[[Any, tuple[Any, ...], Any], None]
KERNELS: dict[str, dict[str, Callable[..., Any]]] = {"CPU": {}, "CUDA": {}}  # of each device, by operator
PLAIN = (Tensor, nn.Parameter)  # other types are tracers' and must reach the dispatcher


class Operator:
    """`cpu1::name` of a schema such as "swiglu(Tensor gate_up) -> Tensor".

    `empty` makes the outputs for given inputs, without values: a tracer uses it, and so may kernels.
    Called with plain tensors it runs the device's kernel inside an autograd function of its own: the same as
    `torch.ops.cpu1.name`, without what the dispatcher adds to each call (some 10 to 30 µs; a small model's step
    makes two hundred of them).
    """

    def __init__(self, schema: str, empty: Callable[..., Any]) -> None:
        self.name = schema.partition("(")[0]
        self.empty = empty
        self.function: type[torch.autograd.Function] | None = None
        LIBRARY.define(schema)
        torch.library.register_fake(f"cpu1::{self.name}", empty, lib=LIBRARY)
        self.dispatch = getattr(torch.ops.cpu1, self.name).default

    def kernel(self, device: str) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
        """Decorator: the function that computes the outputs on "CPU" or "CUDA"."""

        def register(function: Callable[..., Any]) -> Callable[..., Any]:
            LIBRARY.impl(self.name, function, device)
            KERNELS[device][self.name] = function
            return function

        return register

    def gradient(self, save: Setup, constants: Sequence[int] = ()) -> Callable[[Callable[..., Any]], None]:
        """Decorator: backward(ctx, *gradients of the outputs) -> gradients of the inputs, None for those without.

        `save(ctx, inputs, outputs)` keeps what it needs; the outputs numbered in `constants` have no gradient.
        """

        def keep(ctx: Any, inputs: tuple[Any, ...], output: Any) -> None:
            ctx.set_materialize_grads(False)  # an unused output's gradient is None, not a tensor of zeros
            if constants:
                ctx.mark_non_differentiable(*(output[i] for i in constants))
            save(ctx, inputs, output)

        def register(backward: Callable[..., Any]) -> None:
            torch.library.register_autograd(f"cpu1::{self.name}", backward, setup_context=keep, lib=LIBRARY)
            self.function = _function(self, keep, backward)

        return register

    def __call__(self, *inputs: Any) -> Any:
        if torch.compiler.is_compiling():
            return self.dispatch(*inputs)
        for x in inputs:
            if isinstance(x, Tensor) and type(x) not in PLAIN:
                return self.dispatch(*inputs)
        return self.run(*inputs) if self.function is None else self.function.apply(*inputs)

    def run(self, *inputs: Any) -> Any:
        """The device's kernel, by the first tensor."""
        device = next(x.device.type.upper() for x in inputs if isinstance(x, Tensor))
        return KERNELS[device][self.name](*inputs)


def _function(operator: Operator, keep: Setup, backward: Callable[..., Any]) -> type[torch.autograd.Function]:
    """The autograd function of an operator, named like it."""

    def forward(ctx: Any, *inputs: Any) -> Any:
        outputs = operator.run(*inputs)
        keep(ctx, inputs, outputs)
        return outputs

    return type(f"cpu1_{operator.name}", (torch.autograd.Function,), {
        "forward": staticmethod(forward),
        "backward": staticmethod(torch.autograd.function.once_differentiable(backward)),
    })  # fmt: skip


def nothing(like: Tensor) -> Tensor:
    """What an operator returns for an output that is not there."""
    return like.new_empty(0)


def something(tensor: Tensor) -> Tensor | None:
    """None for `nothing`."""
    return tensor if tensor.numel() else None
