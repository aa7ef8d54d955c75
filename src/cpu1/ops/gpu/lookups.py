"""The lookups of the local decoder: rows of tables, rounded, and what the memory of a document says.

Gradients of what many places share are sums by torch, which sorts the places: their order is the same each time.

Shapes: M places (streams and units as one), K contexts, W values of a row, D width, S levels.
"""
# mypy: allow-untyped-defs, no-check-untyped-defs

import torch
import triton
import triton.language as tl
from torch import Tensor

from cpu1.ops.gpu.arithmetic import SILENT, TO_INTEGER
from cpu1.ops.gpu.launch import launch, whole_row
from cpu1.ops.lookups import gather_rows_backward_op, gather_rows_op, recall_backward_op, recall_op
from cpu1.ops.native import dense


@triton.jit
def _gather_rows(table, index, out, width, levels, BLOCK: tl.constexpr):
    place = tl.program_id(0).to(tl.int64)
    at = tl.arange(0, BLOCK)
    inside = at < width
    row = tl.load(index + place).to(tl.int64)
    values = tl.load(table + row * width + at, mask=inside, other=0.0)
    peak = tl.max(tl.abs(values), 0)
    # the power of two above peak / (levels + 1), which is exact
    share = tl.div_rn(peak, levels + 1.0)
    power = (share.to(tl.int32, bitcast=True) & 0x7F800000).to(tl.float32, bitcast=True) * 2.0
    scale = tl.where(peak <= power * levels, power, 2.0 * power)
    scale = tl.where(peak > SILENT, scale, 1.0)
    rounded = (tl.div_rn(values, scale) + TO_INTEGER) - TO_INTEGER
    tl.store(out + place * width + at, rounded * scale, mask=inside)


@triton.jit
def _recall(
    x, codes, first, second, first_gains, second_gains, offsets, out, contexts, levels, width, BLOCK: tl.constexpr
):  # fmt: skip
    place = tl.program_id(0).to(tl.int64)
    at = tl.arange(0, BLOCK)
    inside = at < width
    total = tl.load(x + place * width + at, mask=inside, other=0.0)
    for context in range(contexts):
        code = codes + (place * contexts + context) * 3
        one, two = tl.load(code).to(tl.int64), tl.load(code + 1).to(tl.int64)
        level = tl.load(code + 2).to(tl.int64)
        known = inside & (level > 0)
        told = (context * levels + level) * width + at
        a = tl.load(first + (one * contexts + context) * width + at, mask=known, other=0.0)
        b = tl.load(second + (two * contexts + context) * width + at, mask=known, other=0.0)
        total += tl.load(offsets + told, mask=inside, other=0.0)
        total += a * tl.load(first_gains + told, mask=known, other=0.0)
        total += b * tl.load(second_gains + told, mask=known, other=0.0)
    tl.store(out + place * width + at, total, mask=inside)


@triton.jit
def _recall_gradients(
    dout, codes, first, second, first_gains, second_gains, dfirst, dsecond, dgain, dother, contexts, levels, width,
    BLOCK: tl.constexpr
):  # fmt: skip
    entry = tl.program_id(0).to(tl.int64)  # of (M, K)
    place, context = entry // contexts, entry % contexts
    at = tl.arange(0, BLOCK)
    inside = at < width
    code = codes + entry * 3
    one, two = tl.load(code).to(tl.int64), tl.load(code + 1).to(tl.int64)
    level = tl.load(code + 2).to(tl.int64)
    known = inside & (level > 0)
    told = (context * levels + level) * width + at
    d = tl.load(dout + place * width + at, mask=known, other=0.0)
    to = entry * width + at
    tl.store(dfirst + to, d * tl.load(first_gains + told, mask=known, other=0.0), mask=inside)
    tl.store(dsecond + to, d * tl.load(second_gains + told, mask=known, other=0.0), mask=inside)
    a = tl.load(first + (one * contexts + context) * width + at, mask=known, other=0.0)
    b = tl.load(second + (two * contexts + context) * width + at, mask=known, other=0.0)
    tl.store(dgain + to, d * a, mask=inside)
    tl.store(dother + to, d * b, mask=inside)


@gather_rows_op.kernel("CUDA")
def gather_rows(table: Tensor, index: Tensor, levels: int) -> Tensor:
    """The CUDA kernel of the operator `cpu1::gather_rows`; shapes as in its reference."""
    table, index, width = table.contiguous(), index.contiguous(), table.shape[1]
    out = table.new_empty(*index.shape, width)
    launch(_gather_rows, (index.numel(),), table, index, out, width, float(levels), **whole_row(width))
    return out


@gather_rows_backward_op.kernel("CUDA")
def gather_rows_backward(dout: Tensor, table: Tensor, index: Tensor) -> Tensor:
    """The CUDA kernel of the operator `cpu1::gather_rows_backward`; shapes as in its reference."""
    return _summed(dout, index.long(), len(table))


@recall_op.kernel("CUDA")
def recall(x: Tensor, codes: Tensor, *tensors: Tensor) -> Tensor:
    """The CUDA kernel of the operator `cpu1::recall`; shapes as in its reference."""
    x, out, (contexts, levels, width) = x.contiguous(), torch.empty_like(x).contiguous(), tensors[2].shape
    kept = [codes.contiguous(), *(tensor.contiguous() for tensor in tensors)]
    launch(_recall, (x.numel() // width,), x, *kept, out, contexts, levels, width, **whole_row(width))
    return out


@recall_backward_op.kernel("CUDA")
def recall_backward(dout: Tensor, codes: Tensor, *tensors: Tensor) -> tuple[Tensor, ...]:
    """The CUDA kernel of the operator `cpu1::recall_backward`; shapes as in its reference."""
    contexts, levels, width = tensors[2].shape
    codes, dout = codes.contiguous(), dense(dout, *dout.shape)
    parts = [dout.new_empty(*codes.shape[:-1], width) for _ in range(4)]
    kept = [tensor.contiguous() for tensor in tensors[:4]]
    count = codes.numel() // 3
    launch(_recall_gradients, (count,), dout, codes, *kept, *parts, contexts, levels, width, **whole_row(width))
    one, two, level = codes.long().unbind(-1)
    context = torch.arange(contexts, device=codes.device)
    told = context * levels + level
    places = (one * contexts + context, two * contexts + context, told, told, told)
    parts.append(dout.unsqueeze(-2).expand(*codes.shape[:-1], width))
    sums = zip(parts, places, tensors, strict=True)
    return tuple(_summed(part, place, like.numel() // width).view_as(like) for part, place, like in sums)


def _summed(values: Tensor, places: Tensor, count: int) -> Tensor:
    """Sums (count, W) of the values (..., W) at each of the places (...)."""
    summed: Tensor = torch.ops.aten.embedding_dense_backward(values.contiguous(), places, count, -1, False)
    return summed
