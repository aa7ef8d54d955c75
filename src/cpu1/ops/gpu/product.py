"""The exact product of integers on a GPU.

Shapes: M rows, K inputs, N outputs.
"""

import torch
import torch.nn.functional as F
from torch import Tensor

LEAST_ROWS, STEP = 17, 8  # what torch._int_mm asks for on CUDA: rows of the first matrix; multiples of both others


def integer_product(q: Tensor, w: Tensor) -> Tensor:
    """q wᵀ in int32 (M, N) from int8 q (M, K), ternary int8 w (N, K); rows may lie further apart than N.

    Tensor cores sum in int32, so it is exact. Zeros are added where the sizes do not suit them.
    """
    (rows, inputs), outputs = q.shape, len(w)
    q = _padded(q, max(0, LEAST_ROWS - rows), -inputs % STEP)
    w = _padded(w, -outputs % STEP, -inputs % STEP)
    return torch._int_mm(q, w.t())[:rows, :outputs]


def _padded(matrix: Tensor, rows: int, columns: int) -> Tensor:
    return F.pad(matrix, (0, columns, 0, rows)) if rows or columns else matrix
