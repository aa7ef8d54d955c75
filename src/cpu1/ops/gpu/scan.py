"""The recurrences: one program a stream and block of channels, which goes through time in order, or by `chunks`.

The backward passes go back through time; of the forward pass they need the states alone. What they sum over
channels or streams (the gradients of `keep` and the decay) is written in parts, in a fixed order.

Shapes: B streams, T steps, W channels.
"""
# mypy: allow-untyped-defs, no-check-untyped-defs

import torch
import triton
import triton.language as tl
from torch import Tensor

from cpu1.ops.gpu import chunks
from cpu1.ops.gpu.arithmetic import load_start, mix, silu_slope
from cpu1.ops.gpu.choice import Choice
from cpu1.ops.gpu.launch import launch
from cpu1.ops.native import dense, optional
from cpu1.ops.operator import absent
from cpu1.ops.scan import gate_scan_backward_op, gate_scan_op, leaky_scan_backward_op, leaky_scan_op, one_layout

CHANNELS = {"BLOCK": 32, "num_warps": 1}  # of one program: few, for many programs wait for memory better than one


@triton.jit
def _load_before(h, states, begin, start, inside, width):
    """What the state was before: an element of h at `states`, which begins at `begin`."""
    earlier = states - width
    begun = earlier >= begin
    return tl.where(begun, tl.load(h + earlier, mask=inside & begun, other=0.0), start)


@triton.jit
def _gate_scan(f, c, keep, h0, h, f_batch, f_time, time, width, BLOCK: tl.constexpr):
    b = tl.program_id(0).to(tl.int64)
    at = tl.program_id(1) * BLOCK + tl.arange(0, BLOCK)
    inside = at < width
    state = load_start(h0, b * width + at, inside)
    for t in range(time):
        here = b * f_batch + t * f_time + at
        gate = tl.sigmoid(tl.load(f + here, mask=inside, other=0.0))
        raw = tl.load(c + here, mask=inside, other=0.0)
        moved = mix(gate, state, raw * tl.sigmoid(raw))
        if keep is not None:
            moved = mix(tl.load(keep + b * time + t), moved, state)
        state = moved
        tl.store(h + (b * time + t) * width + at, state, mask=inside)


@triton.jit
def _gate_scan_backward(
    f, c, keep, h0, h, dh, df, dc, dkeep, dh0, f_batch, f_time, d_batch, d_time, time, width, BLOCK: tl.constexpr
):
    b = tl.program_id(0).to(tl.int64)
    at = tl.program_id(1) * BLOCK + tl.arange(0, BLOCK)
    inside = at < width
    start = load_start(h0, b * width + at, inside)
    carry = tl.zeros([BLOCK], tl.float32)
    for i in range(time):
        t = time - 1 - i
        here = b * f_batch + t * f_time + at
        gate = tl.sigmoid(tl.load(f + here, mask=inside, other=0.0))
        raw = tl.load(c + here, mask=inside, other=0.0)
        opened = tl.sigmoid(raw)
        states = (b * time + t) * width + at
        before = _load_before(h, states, b * time * width, start, inside, width)
        total = tl.load(dh + states, mask=inside, other=0.0) + carry
        change = before - raw * opened
        into = total
        if keep is not None:
            into = tl.load(keep + b * time + t) * total
            # moved - before = (F - 1) (before - C)
            tl.store(dkeep + (b * time + t) * tl.num_programs(1) + tl.program_id(1),
                     tl.sum(total * (gate - 1.0) * change, 0))  # fmt: skip
        to = b * d_batch + t * d_time + at
        tl.store(df + to, into * change * gate * (1.0 - gate), mask=inside)
        tl.store(dc + to, into * (1.0 - gate) * silu_slope(raw, opened), mask=inside)
        carry = into * gate + (total - into)
    if h0 is not None:
        tl.store(dh0 + b * width + at, carry, mask=inside)


@triton.jit
def _leaky_scan(u, decay, keep, m0, m, time, width, BLOCK: tl.constexpr):
    b = tl.program_id(0).to(tl.int64)
    at = tl.program_id(1) * BLOCK + tl.arange(0, BLOCK)
    inside = at < width
    gate = tl.load(decay + at, mask=inside, other=0.0)
    state = load_start(m0, b * width + at, inside)
    for t in range(time):
        here = (b * time + t) * width + at
        moved = mix(gate, state, tl.load(u + here, mask=inside, other=0.0))
        if keep is not None:
            moved = mix(tl.load(keep + b * time + t), moved, state)
        state = moved
        tl.store(m + here, state, mask=inside)


@triton.jit
def _leaky_scan_backward(u, decay, keep, m0, m, dm, du, ddecay, dkeep, dm0, time, width, BLOCK: tl.constexpr):
    b = tl.program_id(0).to(tl.int64)
    at = tl.program_id(1) * BLOCK + tl.arange(0, BLOCK)
    inside = at < width
    gate = tl.load(decay + at, mask=inside, other=0.0)
    start = load_start(m0, b * width + at, inside)
    carry = tl.zeros([BLOCK], tl.float32)
    dgate = tl.zeros([BLOCK], tl.float32)
    for i in range(time):
        t = time - 1 - i
        here = (b * time + t) * width + at
        before = _load_before(m, here, b * time * width, start, inside, width)
        total = tl.load(dm + here, mask=inside, other=0.0) + carry
        change = before - tl.load(u + here, mask=inside, other=0.0)
        into = total
        if keep is not None:
            into = tl.load(keep + b * time + t) * total
            tl.store(dkeep + (b * time + t) * tl.num_programs(1) + tl.program_id(1),
                     tl.sum(total * (gate - 1.0) * change, 0))  # fmt: skip
        tl.store(du + here, into * (1.0 - gate), mask=inside)
        dgate += into * change
        carry = into * gate + (total - into)
    tl.store(ddecay + b * width + at, dgate, mask=inside)
    if m0 is not None:
        tl.store(dm0 + b * width + at, carry, mask=inside)


def _grid(batch: int, width: int) -> tuple[int, int]:
    return batch, triton.cdiv(width, CHANNELS["BLOCK"])


# ------------------------------------------------------------------------------------------ in order


def _gate_in_order(f: Tensor, c: Tensor, keep: Tensor | None, h0: Tensor | None, h: Tensor) -> None:
    batch, time, width = h.shape
    launch(_gate_scan, _grid(batch, width), f, c, keep, h0, h, *f.stride()[:2], time, width, **CHANNELS)


def _gate_in_order_backward(
    f: Tensor,
    c: Tensor,
    keep: Tensor | None,
    h0: Tensor | None,
    h: Tensor,
    dh: Tensor,
    df: Tensor,
    dc: Tensor,
    dkeep: Tensor | None,
    dh0: Tensor | None,
) -> None:
    batch, time, width = h.shape
    tensors = (f, c, keep, h0, h, dh, df, dc, dkeep, dh0)
    strides = (*f.stride()[:2], *df.stride()[:2])
    launch(_gate_scan_backward, _grid(batch, width), *tensors, *strides, time, width, **CHANNELS)


def _leaky_in_order(u: Tensor, decay: Tensor, keep: Tensor | None, m0: Tensor | None, m: Tensor) -> None:
    batch, time, width = m.shape
    launch(_leaky_scan, _grid(batch, width), u, decay, keep, m0, m, time, width, **CHANNELS)


def _leaky_in_order_backward(
    u: Tensor,
    decay: Tensor,
    keep: Tensor | None,
    m0: Tensor | None,
    m: Tensor,
    dm: Tensor,
    du: Tensor,
    ddecay: Tensor,
    dkeep: Tensor | None,
    dm0: Tensor | None,
) -> None:
    batch, time, width = m.shape
    tensors = (u, decay, keep, m0, m, dm, du, ddecay, dkeep, dm0)
    launch(_leaky_scan_backward, _grid(batch, width), *tensors, time, width, **CHANNELS)


# -------------------------------------------------------------------------------- whichever is faster

gate_form = Choice(4, _gate_in_order, chunks.gate_scan)
gate_backward_form = Choice(6, _gate_in_order_backward, chunks.gate_scan_backward)
leaky_form = Choice(4, _leaky_in_order, chunks.leaky_scan)
leaky_backward_form = Choice(6, _leaky_in_order_backward, chunks.leaky_scan_backward)


def scan(f: Tensor, c: Tensor, keep: Tensor | None, h0: Tensor | None) -> Tensor:
    """The states h (B, T, D) of f and c (B, T, D), which have one layout with dense channels."""
    batch, time, width = f.shape
    h = f.new_empty(f.shape)
    gate_form(f, c, optional(keep, batch, time), optional(h0, batch, width), h)
    return h


def scan_backward(
    f: Tensor, c: Tensor, keep: Tensor | None, h0: Tensor | None, h: Tensor, dh: Tensor, df: Tensor, dc: Tensor
) -> tuple[Tensor, Tensor]:
    """Writes df and dc, which have one layout with dense channels; returns the gradients of keep and h0."""
    batch, time, width = h.shape
    keep, h0 = optional(keep, batch, time), optional(h0, batch, width)
    dkeep, dh0 = _softened(keep, _grid(batch, width)), None if h0 is None else torch.empty_like(h0)
    gate_backward_form(f, c, keep, h0, h, dh, df, dc, dkeep, dh0)
    return _total(dkeep, h), absent(h) if dh0 is None else dh0


def _softened(keep: Tensor | None, grid: tuple[int, int]) -> Tensor | None:
    """Where each program writes its share of the gradient of keep."""
    return None if keep is None else keep.new_empty(*keep.shape, grid[1])


def _total(shares: Tensor | None, like: Tensor) -> Tensor:
    return absent(like) if shares is None else shares.sum(-1)


@gate_scan_op.kernel("CUDA")
def gate_scan(f: Tensor, c: Tensor, keep: Tensor | None, h0: Tensor | None) -> Tensor:
    """The CUDA kernel of the operator `cpu1::gate_scan`; shapes as in its reference."""
    return scan(*one_layout(f, c), keep, h0)


@gate_scan_backward_op.kernel("CUDA")
def gate_scan_backward(
    dh: Tensor, f: Tensor, c: Tensor, keep: Tensor | None, h0: Tensor | None, h: Tensor
) -> tuple[Tensor, ...]:
    """The CUDA kernel of the operator `cpu1::gate_scan_backward`; shapes as in its reference."""
    df, dc = torch.empty_like(h), torch.empty_like(h)
    return df, dc, *scan_backward(*one_layout(f, c), keep, h0, h, dense(dh, *h.shape), df, dc)


@leaky_scan_op.kernel("CUDA")
def leaky_scan(u: Tensor, decay: Tensor, keep: Tensor | None, m0: Tensor | None) -> Tensor:
    """The CUDA kernel of the operator `cpu1::leaky_scan`; shapes as in its reference."""
    batch, time, width = u.shape
    u, decay, keep, m0 = u.contiguous(), dense(decay, width), optional(keep, batch, time), optional(m0, batch, width)
    m = torch.empty_like(u)
    leaky_form(u, decay, keep, m0, m)
    return m


@leaky_scan_backward_op.kernel("CUDA")
def leaky_scan_backward(
    dm: Tensor, u: Tensor, decay: Tensor, keep: Tensor | None, m0: Tensor | None, m: Tensor
) -> tuple[Tensor, ...]:
    """The CUDA kernel of the operator `cpu1::leaky_scan_backward`; shapes as in its reference."""
    batch, time, width = m.shape
    dm, u, decay = dense(dm, *m.shape), u.contiguous(), decay.contiguous()
    keep, m0 = optional(keep, batch, time), optional(m0, batch, width)
    du, ddecay, dkeep = torch.empty_like(u), m.new_empty(batch, width), _softened(keep, _grid(batch, width))
    dm0 = None if m0 is None else torch.empty_like(m0)
    leaky_backward_form(u, decay, keep, m0, m, dm, du, ddecay, dkeep, dm0)
    return du, ddecay.sum(0), _total(dkeep, m), absent(m) if dm0 is None else dm0
