"""The choice between a fast form and its reference, and how tensors are handed to the native kernels.

Shapes: M rows (all leading dimensions as one), D the last dimension.
"""

import functools
import importlib
import importlib.util
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, ParamSpec, TypeVar

import torch
from torch import Tensor

from cpu1.ops.operator import KERNELS
from cpu1.ops.reference import Precision, Quantised, autocast_precision


def _load() -> Any:
    """The kernels, or None in a build without a C++ compiler. Kernels that were built must load."""
    return importlib.import_module("cpu1._train") if importlib.util.find_spec("cpu1._train") else None


train = _load()
_reference_forced = False
P = ParamSpec("P")
R = TypeVar("R")


def native_available() -> bool:
    """Whether the native kernels were built. Operations on fp32 tensors on the CPU then use them."""
    return train is not None


@contextmanager
def use_reference() -> Iterator[None]:
    """A context in which every operation is the plain torch reference: for tests and for comparing speeds."""
    global _reference_forced
    before, _reference_forced = _reference_forced, True
    try:
        yield
    finally:
        _reference_forced = before


def fast_form_of(reference: Callable[P, R]) -> Callable[[Callable[P, R]], Callable[P, R]]:
    """Decorator: a fast form of `reference`, with its signature, docstring and name.

    The reference computes whatever the fast form cannot: without a native build, for other dtypes, on other devices.
    """
    name = reference.__name__

    def decorate(fast: Callable[P, R]) -> Callable[P, R]:
        @functools.wraps(reference)
        def choose(*args: P.args, **kwargs: P.kwargs) -> R:
            if not _reference_forced and _is_fast(name, _common_device((*args, *kwargs.values()))):
                return fast(*args, **kwargs)
            return reference(*args, **kwargs)

        return choose

    return decorate


def _is_fast(name: str, device: str | None) -> bool:
    if device == "cpu":
        return train is not None
    return device == "cuda" and name in KERNELS["CUDA"]


def _common_device(arguments: tuple[Any, ...]) -> str | None:
    """The type of the device that holds all tensors. None if they are on several, or if one is real but not fp32."""
    common = None
    for argument in arguments:
        tensor = argument.s if isinstance(argument, Quantised) else argument
        if isinstance(tensor, Tensor):
            device = tensor.device.type
            if common not in (None, device) or (tensor.dtype != torch.float32 and tensor.is_floating_point()):
                return None
            common = device
    return common


def is_bf16(x: Tensor, precision: Precision | None) -> bool:
    """Whether gradients, and what is kept for them, are in bf16: as `precision` says, else as torch.autocast does."""
    return (precision or autocast_precision(x)) == "bf16"


def gradient_dtype(bf16: bool) -> torch.dtype:
    """The dtype of gradients and of what is kept for them, see `is_bf16`."""
    return torch.bfloat16 if bf16 else torch.float32


def address(tensor: Tensor | None, offset: int = 0) -> int:
    """The address of a tensor's element number `offset`; 0 for None."""
    return 0 if tensor is None else tensor.data_ptr() + offset * tensor.element_size()


def addresses(*tensors: Tensor | None) -> list[int]:
    """The address of each tensor; 0 for None. A training step of a small model needs a thousand of them."""
    return [0 if tensor is None else tensor.data_ptr() for tensor in tensors]


def dense(tensor: Tensor, *shape: int) -> Tensor:
    """`tensor` as contiguous memory. Raises ValueError unless it has the shape that a kernel relies on."""
    if tensor.shape != shape:
        raise ValueError(f"expected a tensor of shape {shape}, got {tuple(tensor.shape)}")
    return tensor.contiguous()


def optional(tensor: Tensor | None, *shape: int) -> Tensor | None:
    """As `dense`, but None for None."""
    return None if tensor is None else dense(tensor, *shape)


def rows(tensor: Tensor) -> Tensor:
    """A tensor (..., D) with all leading dimensions as one: contiguous (M, D)."""
    return tensor.contiguous().view(-1, tensor.shape[-1])
