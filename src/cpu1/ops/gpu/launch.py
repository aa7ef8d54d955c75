"""How kernels are started: on whose device, over which grid, in what sizes."""

from collections.abc import Sequence
from typing import Any

import torch
import triton
from torch import Tensor

PROGRAMS = 512  # that share the rows when something is summed over all of them: one partial sum each


def launch(kernel: Any, grid: Sequence[int], first: Tensor, /, *arguments: Any, **constants: Any) -> None:
    """Runs `kernel` on the device of its first argument.

    Products and sums are rounded one by one, as torch does: fused, q would not be the reference's.
    """
    with torch.cuda.device_of(first):
        kernel[tuple(grid)](first, *arguments, **constants, enable_fp_fusion=False)


def whole_row(width: int) -> dict[str, int]:
    """The constants of a kernel whose programs hold a row each: eight numbers a thread, within limits."""
    block = triton.next_power_of_2(width)
    return {"BLOCK": block, "num_warps": min(16, max(1, block // 256))}


def shared_rows(rows: int) -> tuple[int, int]:
    """(programs, rows that each one takes) for a sum over rows."""
    each = max(1, triton.cdiv(rows, PROGRAMS))
    return triton.cdiv(rows, each), each
