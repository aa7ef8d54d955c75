"""Matrix products by the way that is fast on this processor: of integers, and of bf16; the precision to train in.

Shapes: M rows, K inputs, N outputs.
"""

from functools import cache

import torch
from torch import Tensor

from cpu1.device import fast_precision
from cpu1.ops.native import addresses, train
from cpu1.ops.reference import LEVELS

# fp32 counts integers up to here: sums of K products of at most LEVELS stay below it for K < 132,104
EXACT_IN_FP32 = 2**24
PANEL = 16  # the native product takes multiples of it


@cache
def sums_bytes() -> bool:
    """Whether the processor sums products of bytes in one instruction, and torch uses it.

    Elsewhere `torch._int_mm` is a plain loop: 9 to 24 times as slow as the same product in fp32 with AVX2 alone.
    """
    if not hasattr(torch.cpu, "get_capabilities"):  # before torch 2.13
        return False
    return bool(torch.cpu.get_capabilities().get("avx512_vnni"))


@cache
def multiplies_bf16() -> bool:
    """Whether the processor multiplies bf16, and torch uses it."""
    return fast_precision(torch.device("cpu")) == "bf16"


def training_precision(device: torch.device) -> str:
    """Returns "bf16" where gradients are faster in it, else "fp32".

    They are where the device multiplies bf16, and where the native kernels multiply integers: then all products with
    ternary weights but one are of integers (docs/training.md).
    """
    integers = device.type == "cpu" and train is not None and train.has_integer_product()
    return "bf16" if integers else fast_precision(device)


def integer_product(q: Tensor, w: Tensor, transposed: bool = False) -> Tensor:
    """q wᵀ in int32 (M, N), exact, from int8 q (M, K), none of it -128, and ternary int8 w (N, K).

    With `transposed`, w is (K, N), and the product q w.
    """
    if sums_bytes():
        return torch._int_mm(q, w if transposed else w.t())
    if train.has_integer_product() and all(size and size % PANEL == 0 for size in w.shape):
        return _native_product(q.contiguous(), w.contiguous(), transposed)
    exact = torch.float32 if q.shape[1] * LEVELS < EXACT_IN_FP32 else torch.float64
    with torch.autocast("cpu", enabled=False):  # it would round the sums to bf16
        return (q.to(exact) @ (w if transposed else w.t()).to(exact)).to(torch.int32)


def gradient_in_shorts(outputs: int, inputs: int) -> bool:
    """Whether `weight_gradient` is there for a weight (outputs, inputs), and the faster way to its gradient in bf16."""
    return not multiplies_bf16() and train.has_integer_product() and outputs % PANEL == inputs % PANEL == 0


def weight_gradient(dy: Tensor, q: Tensor, row_scale: Tensor) -> Tensor:
    """dyᵀ q / row_scale[:, None] in fp32 (N, K), from bf16 dy (M, N), int8 q (M, K), none of it -128, row_scale (N,).

    dy is rounded to 15 bits of the largest of its column in each block of rows, and summed without another rounding:
    a hundred times nearer than a sum that is rounded to bf16.
    """
    dw = row_scale.new_empty(dy.shape[1], q.shape[1])
    panel = torch.empty(len(q) + len(q) % 2, q.shape[1], dtype=torch.int16)
    sizes = (*q.shape, len(dw), torch.get_num_threads())
    train.weight_gradient(*addresses(dy.contiguous(), q.contiguous(), row_scale, panel, dw), *sizes)
    return dw


def _native_product(q: Tensor, w: Tensor, transposed: bool) -> Tensor:
    outputs = w.shape[1 if transposed else 0]
    sums = torch.empty(len(q), outputs, dtype=torch.int32)
    panel = torch.empty(w.numel(), dtype=torch.uint8)
    sizes = (*q.shape, outputs, torch.get_num_threads())
    train.integer_product(*addresses(q, w), transposed, *addresses(panel, sums), *sizes)
    return sums


def product(a: Tensor, b: Tensor) -> Tensor:
    """a b in their dtype, (M, N) from a (M, K) and b (K, N). Sums of bf16 are in fp32 and rounded once."""
    if a.dtype != torch.bfloat16 or a.is_cuda or multiplies_bf16():
        return a @ b
    with torch.autocast("cpu", enabled=False):
        return (a.float() @ b.float()).to(torch.bfloat16)


def autocast_product(a: Tensor, b: Tensor) -> Tensor:
    """a b in the dtype of a, for products that have no operation of their own, with torch's gradients.

    Inside torch.autocast it is computed in its dtype if the device multiplies that: on other processors it takes up
    to 40 times as long as in fp32.
    """
    device = a.device.type
    if torch.is_autocast_enabled(device) and device == "cpu" and not multiplies_bf16():
        with torch.autocast(device, enabled=False):
            return a @ b
    return (a @ b).to(a.dtype)
