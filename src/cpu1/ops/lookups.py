"""The lookups of the local decoder: rows of tables of n-grams, and what the memory of a document says.

Shapes: B streams, N units, K contexts, R rows of a table for each, W values of a row, D width, S levels.
"""

from typing import Any

import torch
from torch import Tensor

from cpu1.ops import reference
from cpu1.ops.native import addresses, dense, fast_form_of, train
from cpu1.ops.operator import Operator

# ------------------------------------------------------------------------------------ rows of tables


@fast_form_of(reference.gather_rows)
def gather_rows(table: Tensor, index: Tensor, levels: int, sparse: bool = False) -> Tensor:
    if sparse and table.device.type == "cpu":
        rows: Tensor = _GatherSparse.apply(table, index, levels)
        return rows
    rows = gather_rows_op(table, index, levels)
    return rows


gather_rows_op = Operator(
    "gather_rows(Tensor table, Tensor index, int levels) -> Tensor",
    lambda table, index, levels: table.new_empty(*index.shape, table.shape[1]),
)
gather_rows_backward_op = Operator(
    "gather_rows_backward(Tensor dout, Tensor table, Tensor index) -> Tensor",
    lambda dout, table, index: torch.empty_like(table),
)


@gather_rows_op.kernel("CPU")
def _gather_rows(table: Tensor, index: Tensor, levels: int) -> Tensor:
    table, index = table.contiguous(), _checked(index, len(table))
    out = gather_rows_op.empty(table, index, levels)
    train.gather_rows(*addresses(table, index, out), index.numel(), table.shape[1], levels, torch.get_num_threads())
    return out


@gather_rows_backward_op.kernel("CPU")
def _gather_rows_backward(dout: Tensor, table: Tensor, index: Tensor) -> Tensor:
    rows, values = summed_rows(dout, table, index)
    return torch.zeros_like(table).index_copy_(0, rows, values)


@gather_rows_op.gradient(lambda ctx, inputs, out: ctx.save_for_backward(*inputs[:2]))
def _(ctx: Any, dout: Tensor) -> tuple[Any, ...]:
    return gather_rows_backward_op(dout, *ctx.saved_tensors), None, None


class _GatherSparse(torch.autograd.Function):
    """`gather_rows` with a gradient of the rows that were read alone: a table is far larger than what a step reads."""

    @staticmethod
    def forward(ctx: Any, table: Tensor, index: Tensor, levels: int) -> Tensor:
        ctx.save_for_backward(table, index)
        return _gather_rows(table, index, levels)

    @staticmethod
    def backward(ctx: Any, dout: Tensor) -> tuple[Any, ...]:
        table, index = ctx.saved_tensors
        rows, values = summed_rows(dout, table, index)
        gradient = torch.sparse_coo_tensor(rows[None], values, table.shape, is_coalesced=True, check_invariants=False)
        return gradient, None, None


def summed_rows(dout: Tensor, table: Tensor, index: Tensor) -> tuple[Tensor, Tensor]:
    """The rows (U,) of `table` that `index` (..., K) names, in order, and each one's sum (U, W) of `dout` (..., K, W).

    The K contexts own different rows.
    """
    width, index = table.shape[1], index.contiguous()
    rows, place = index.new_empty(index.numel(), dtype=torch.int64), index.new_empty(len(table))
    count = train.mark_rows(*addresses(index), index.numel(), len(table), *addresses(rows, place))
    values = table.new_zeros(count, width)
    dout = dense(dout, *index.shape, width)
    sizes = (index.numel() // index.shape[-1], index.shape[-1], width, torch.get_num_threads())
    train.sum_rows(*addresses(dout, index, place, values), *sizes)
    return rows[:count].clone(), values


def _checked(index: Tensor, rows: int) -> Tensor:
    """`index` as the kernels read it. Raises ValueError for another type, IndexError for a row beyond the table."""
    if index.dtype != torch.int32:
        raise ValueError(f"rows are numbered in int32, not in {index.dtype}")
    numbers = index.numpy()
    if numbers.size and not 0 <= (low := numbers.min()) <= (high := numbers.max()) < rows:
        raise IndexError(f"rows {low} to {high} of a table of {rows}")
    return index.contiguous()


# ------------------------------------------------------------------------------ memory of the document


@fast_form_of(reference.recall)
def recall(
    x: Tensor, codes: Tensor, first: Tensor, second: Tensor, first_gains: Tensor, second_gains: Tensor, offsets: Tensor
) -> Tensor:
    out: Tensor = recall_op(x, codes, first, second, first_gains, second_gains, offsets)
    return out


recall_op = Operator(
    "recall(Tensor x, Tensor codes, Tensor first, Tensor second, Tensor first_gains, Tensor second_gains,"
    " Tensor offsets) -> Tensor",
    lambda x, *_: torch.empty_like(x),
)
recall_backward_op = Operator(
    "recall_backward(Tensor dout, Tensor codes, Tensor first, Tensor second, Tensor first_gains, Tensor second_gains,"
    " Tensor offsets) -> (Tensor, Tensor, Tensor, Tensor, Tensor)",
    lambda dout, codes, *tensors: tuple(torch.empty_like(tensor) for tensor in tensors),
)


@recall_op.kernel("CPU")
def _recall(x: Tensor, codes: Tensor, *tensors: Tensor) -> Tensor:
    x, out = x.contiguous(), torch.empty_like(x, memory_format=torch.contiguous_format)
    kept, sizes = _recall_inputs(codes, tensors, *x.shape)
    train.recall(*addresses(x), addresses(*kept), *addresses(out), sizes, torch.get_num_threads())
    return out


@recall_backward_op.kernel("CPU")
def _recall_backward(dout: Tensor, codes: Tensor, *tensors: Tensor) -> tuple[Tensor, ...]:
    kept, sizes = _recall_inputs(codes, tensors, *dout.shape)
    gradients = [torch.zeros_like(tensor) for tensor in kept[1:]]
    dout = dout.contiguous()
    train.recall_backward(*addresses(dout), addresses(*kept), addresses(*gradients), sizes, torch.get_num_threads())
    return tuple(gradients)


def _recall_inputs(codes: Tensor, tensors: tuple[Tensor, ...], batch: int, units: int, width: int) -> Any:
    """Codes and tensors as the kernels read them, and [rows, width, contexts, levels]."""
    contexts, levels = tensors[2].shape[:2]
    if codes.dtype != torch.uint8:
        raise ValueError(f"codes are bytes, not {codes.dtype}")
    if (highest := codes.numpy()[..., 2].max(initial=0)) >= levels:
        raise IndexError(f"level {highest} of {levels}")
    kept = [dense(codes, batch, units, contexts, 3)]
    kept += [dense(tensor, 256, contexts, width) for tensor in tensors[:2]]
    kept += [dense(tensor, contexts, levels, width) for tensor in tensors[2:]]
    return kept, [batch * units, width, contexts, levels]


@recall_op.gradient(lambda ctx, inputs, out: ctx.save_for_backward(*inputs[1:]))
def _(ctx: Any, dout: Tensor) -> tuple[Any, ...]:
    return dout, None, *recall_backward_op(dout, *ctx.saved_tensors)
