"""An operation as torch sees it: schema, shapes, kernels by device, gradient (`torch.library`).

This is all that `torch.compile`, autograd and other devices need to know of an operation. Schemas have no optional
outputs, so that an output which a call does not have is an empty tensor: `absent` and `none_if_absent`.

Shapes: stated by each operation, in the file that registers it.
"""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn

LIBRARY = torch.library.Library("cpu1", "DEF")
Setup = Callable[[Any, tuple[Any, ...], Any], None]
KERNELS: dict[str, dict[str, Callable[..., Any]]] = {"CPU": {}, "CUDA": {}}  # of each device, by operator
PLAIN = (Tensor, nn.Parameter)  # other types belong to tracers and must reach the dispatcher


class Operator:
    """The operator `cpu1::name` of a schema such as "swiglu(Tensor gate_up) -> Tensor".

    `empty` allocates the outputs for given inputs, without values. Tracers use it, and kernels may. Called with plain
    tensors, an operator runs the device's kernel inside an autograd function of its own. The result is that of
    `torch.ops.cpu1.name`, without the 10 to 30 µs that the dispatcher adds to each call: a training step of a small
    model makes two hundred calls.
    """

    def __init__(self, schema: str, empty: Callable[..., Any]) -> None:
        self.name = schema.partition("(")[0]
        self.empty = empty
        self.function: type[torch.autograd.Function] | None = None
        LIBRARY.define(schema)
        torch.library.register_fake(f"cpu1::{self.name}", empty, lib=LIBRARY)
        self.dispatch = getattr(torch.ops.cpu1, self.name).default

    def kernel(self, device: str) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
        """Decorator: registers the function that computes the outputs on `device`, "CPU" or "CUDA"."""

        def register(function: Callable[..., Any]) -> Callable[..., Any]:
            LIBRARY.impl(self.name, function, device)
            KERNELS[device][self.name] = function
            return function

        return register

    def gradient(self, save: Setup, constants: Sequence[int] = ()) -> Callable[[Callable[..., Any]], None]:
        """Decorator: registers backward(ctx, *gradients of the outputs), which returns the gradients of the inputs.

        The gradient of an input that has none is None. `save(ctx, inputs, outputs)` keeps what the backward pass
        needs. The outputs numbered in `constants` have no gradient.
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
        """Runs the kernel of the first tensor's device."""
        device = next(x.device.type.upper() for x in inputs if isinstance(x, Tensor))
        return KERNELS[device][self.name](*inputs)


def _function(operator: Operator, keep: Setup, backward: Callable[..., Any]) -> type[torch.autograd.Function]:
    """The autograd function of an operator, with the operator's name."""

    def forward(ctx: Any, *inputs: Any) -> Any:
        outputs = operator.run(*inputs)
        keep(ctx, inputs, outputs)
        return outputs

    members = {
        "forward": staticmethod(forward),
        "backward": staticmethod(torch.autograd.function.once_differentiable(backward)),
    }
    return type(f"cpu1_{operator.name}", (torch.autograd.Function,), members)


def absent(like: Tensor) -> Tensor:
    """The empty tensor that an operator returns for an output which this call does not have."""
    return like.new_empty(0)


def none_if_absent(tensor: Tensor) -> Tensor | None:
    """None for an `absent` output, else the output itself."""
    return tensor if tensor.numel() else None
