"""The native kernels and those of other devices: when they are used, and what they are told about a tensor."""

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
    """The kernels, or None in a build without a C++ compiler; kernels that are there must load."""
    return importlib.import_module("cpu1._train") if importlib.util.find_spec("cpu1._train") else None


train = _load()
_reference_forced = False
P = ParamSpec("P")
R = TypeVar("R")


def native_available() -> bool:
    """Whether the native kernels were built: fp32 tensors on the CPU then use them."""
    return train is not None


@contextmanager
def use_reference() -> Iterator[None]:
    """Inside it every operation is the plain torch reference: for tests, and to see what kernels bring."""
    global _reference_forced
    before, _reference_forced = _reference_forced, True
    try:
        yield
    finally:
        _reference_forced = before


def beside(reference: Callable[P, R]) -> Callable[[Callable[P, R]], Callable[P, R]]:
    """Decorates a fast form; what it does not handle (no build, other types or devices) the reference does.

    Both have one signature and one docstring, the reference's; the operator has its name.
    """
    name = reference.__name__

    def decorate(fast: Callable[P, R]) -> Callable[P, R]:
        @functools.wraps(reference)
        def choose(*args: P.args, **kwargs: P.kwargs) -> R:
            if not _reference_forced and _is_fast(name, _place((*args, *kwargs.values()))):
                return fast(*args, **kwargs)
            return reference(*args, **kwargs)

        return choose

    return decorate


def _is_fast(name: str, device: str | None) -> bool:
    if device == "cpu":
        return train is not None
    return device == "cuda" and name in KERNELS["CUDA"]


def _place(arguments: tuple[Any, ...]) -> str | None:
    """The kind of device that all tensors are on; None if there are several, or reals other than fp32."""
    place = None
    for argument in arguments:
        tensor = argument.s if isinstance(argument, Quantised) else argument
        if isinstance(tensor, Tensor):
            here = tensor.device.type
            if place not in (None, here) or (tensor.dtype != torch.float32 and tensor.is_floating_point()):
                return None
            place = here
    return place


def is_bf16(x: Tensor, precision: Precision | None) -> bool:
    """Whether gradients, and what is kept for them, are in bf16: as asked, else as torch.autocast has it."""
    return (precision or autocast_precision(x)) == "bf16"


def kind(bf16: bool) -> torch.dtype:
    """The type of those."""
    return torch.bfloat16 if bf16 else torch.float32


def address(tensor: Tensor | None, offset: int = 0) -> int:
    """Where its element number `offset` lies; 0 for None."""
    return 0 if tensor is None else tensor.data_ptr() + offset * tensor.element_size()


def addresses(*tensors: Tensor | None) -> list[int]:
    """Where each begins; 0 for None. A small model's step asks for a thousand."""
    return [0 if tensor is None else tensor.data_ptr() for tensor in tensors]


def dense(tensor: Tensor, *shape: int) -> Tensor:
    """`tensor` as contiguous memory; raises ValueError if it has not the shape that a kernel relies on."""
    if tensor.shape != shape:
        raise ValueError(f"expected a tensor of shape {shape}, got {tuple(tensor.shape)}")
    return tensor.contiguous()


def optional(tensor: Tensor | None, *shape: int) -> Tensor | None:
    """`dense`, or None for None."""
    return None if tensor is None else dense(tensor, *shape)


def rows(tensor: Tensor) -> Tensor:
    """All leading dimensions as one: (..., D) as contiguous (M, D)."""
    return tensor.contiguous().view(-1, tensor.shape[-1])
