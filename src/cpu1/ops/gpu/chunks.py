"""The recurrences by chunks of time: each chunk is scanned at once, and a carry leads from chunk to chunk.

A step h -> a h + b is a pair (a, b), and pairs combine: (a, b) and then (a', b') is (a a', a' b + b'). So the steps of
a chunk are an associative scan (Blelloch, "Prefix Sums and Their Applications", 1990), whose loads do not wait for each
other as those of `scan` do; the state that enters the chunk is multiplied in last. `keep` k turns (a, b) into
(k a + 1 - k, k b). The backward passes read time backwards: dh_t + a_{t+1} (...) is a recurrence of the same kind.

Bits may differ from `scan`: products of gates are rounded in another order, and so is the sum behind the gradient of
the decay. What is exact there is exact here: gates of 0 and 1, and `keep` of 0 and 1.

Shapes: B streams, T steps, W channels.
"""
# mypy: allow-untyped-defs, no-check-untyped-defs

import triton
import triton.language as tl
from torch import Tensor

from cpu1.ops.gpu.arithmetic import load_start, silu_slope
from cpu1.ops.gpu.launch import launch

TILE = {"TIME": 32, "BLOCK": 32, "num_warps": 4}  # of one turn of a program; BLOCK channels as in `scan`


@triton.jit
def _then(a, b, next_a, next_b):
    """Two steps as one."""
    return a * next_a, b * next_a + next_b


@triton.jit
def _last(rows, places, TIME: tl.constexpr):
    """The last row of a tile."""
    return tl.sum(tl.where((places == TIME - 1)[:, None], rows, 0.0), 0)


@triton.jit
def _soften(keep, gate, at, inside):
    """(k, k gate + 1 - k), k of `keep` at `at` as a column; 1 and the gate without."""
    if keep is None:
        return tl.full([1, 1], 1.0, tl.float32), gate
    else:
        k = tl.load(keep + at, mask=inside, other=0.0)[:, None]
        return k, k * gate + (1.0 - k)


@triton.jit
def _gate_chunks(f, c, keep, h0, h, f_batch, f_time, time, width, TIME: tl.constexpr, BLOCK: tl.constexpr):
    b = tl.program_id(0).to(tl.int64)
    at = tl.program_id(1) * BLOCK + tl.arange(0, BLOCK)
    inside = at < width
    places = tl.arange(0, TIME)
    state = load_start(h0, b * width + at, inside)
    for first in range(0, time, TIME):
        t = first + places
        real = (t < time)[:, None] & inside[None, :]
        here = b * f_batch + t[:, None] * f_time + at[None, :]
        gate = tl.sigmoid(tl.load(f + here, mask=real, other=0.0))
        raw = tl.load(c + here, mask=real, other=0.0)
        k, carried = _soften(keep, gate, b * time + t, t < time)
        share = tl.where((t < time)[:, None], carried, 1.0)
        fresh = tl.where(real, k * ((1.0 - gate) * (raw * tl.sigmoid(raw))), 0.0)
        share, own = tl.associative_scan((share, fresh), 0, _then)
        states = share * state[None, :] + own
        tl.store(h + (b * time + t)[:, None] * width + at[None, :], states, mask=real)
        state = _last(states, places, TIME)


@triton.jit
def _gate_chunks_backward(
    f, c, keep, h0, h, dh, df, dc, dkeep, dh0, f_batch, f_time, d_batch, d_time, time, width,
    TIME: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    b = tl.program_id(0).to(tl.int64)
    at = tl.program_id(1) * BLOCK + tl.arange(0, BLOCK)
    inside = at < width
    places = tl.arange(0, TIME)
    start = load_start(h0, b * width + at, inside)
    total = tl.zeros([BLOCK], tl.float32)
    for first in range(0, time, TIME):
        t = time - 1 - first - places
        real = (t >= 0)[:, None] & inside[None, :]
        begun = (t >= 1)[:, None] & inside[None, :]
        here = b * f_batch + t[:, None] * f_time + at[None, :]
        after = (t >= 0) & (t + 1 < time)
        next_gate = tl.sigmoid(tl.load(f + here + f_time, mask=after[:, None] & inside[None, :], other=0.0))
        _, share = _soften(keep, next_gate, b * time + t + 1, after)
        share = tl.where(after[:, None], share, 1.0)
        states = (b * time + t)[:, None] * width + at[None, :]
        share, own = tl.associative_scan((share, tl.load(dh + states, mask=real, other=0.0)), 0, _then)
        totals = share * total[None, :] + own
        total = _last(totals, places, TIME)

        gate = tl.sigmoid(tl.load(f + here, mask=real, other=0.0))
        raw = tl.load(c + here, mask=real, other=0.0)
        opened = tl.sigmoid(raw)
        before = tl.where(begun, tl.load(h + states - width, mask=begun, other=0.0), start[None, :])
        change = before - raw * opened
        k, _ = _soften(keep, gate, b * time + t, t >= 0)
        into = k * totals
        if keep is not None:
            shares = tl.where(real, totals * (gate - 1.0) * change, 0.0)
            tl.store(dkeep + (b * time + t) * tl.num_programs(1) + tl.program_id(1), tl.sum(shares, 1), mask=t >= 0)
        to = b * d_batch + t[:, None] * d_time + at[None, :]
        tl.store(df + to, into * change * gate * (1.0 - gate), mask=real)
        tl.store(dc + to, into * (1.0 - gate) * silu_slope(raw, opened), mask=real)
    if h0 is not None:
        gate = tl.sigmoid(tl.load(f + b * f_batch + at, mask=inside, other=0.0))
        if keep is not None:
            k = tl.load(keep + b * time)
            gate = k * gate + (1.0 - k)
        tl.store(dh0 + b * width + at, total * gate, mask=inside)


@triton.jit
def _leaky_chunks(u, decay, keep, m0, m, time, width, TIME: tl.constexpr, BLOCK: tl.constexpr):
    b = tl.program_id(0).to(tl.int64)
    at = tl.program_id(1) * BLOCK + tl.arange(0, BLOCK)
    inside = at < width
    places = tl.arange(0, TIME)
    gate = tl.load(decay + at, mask=inside, other=0.0)[None, :]
    state = load_start(m0, b * width + at, inside)
    for first in range(0, time, TIME):
        t = first + places
        real = (t < time)[:, None] & inside[None, :]
        here = (b * time + t)[:, None] * width + at[None, :]
        k, carried = _soften(keep, gate, b * time + t, t < time)
        share = tl.where(real, carried, 1.0)
        fresh = k * ((1.0 - gate) * tl.load(u + here, mask=real, other=0.0))
        share, own = tl.associative_scan((share, tl.where(real, fresh, 0.0)), 0, _then)
        states = share * state[None, :] + own
        tl.store(m + here, states, mask=real)
        state = _last(states, places, TIME)


@triton.jit
def _leaky_chunks_backward(
    u, decay, keep, m0, m, dm, du, ddecay, dkeep, dm0, time, width, TIME: tl.constexpr, BLOCK: tl.constexpr
):
    b = tl.program_id(0).to(tl.int64)
    at = tl.program_id(1) * BLOCK + tl.arange(0, BLOCK)
    inside = at < width
    places = tl.arange(0, TIME)
    gate = tl.load(decay + at, mask=inside, other=0.0)[None, :]
    start = load_start(m0, b * width + at, inside)
    total = tl.zeros([BLOCK], tl.float32)
    dgate = tl.zeros([BLOCK], tl.float32)
    for first in range(0, time, TIME):
        t = time - 1 - first - places
        real = (t >= 0)[:, None] & inside[None, :]
        begun = (t >= 1)[:, None] & inside[None, :]
        after = (t >= 0) & (t + 1 < time)
        _, share = _soften(keep, gate, b * time + t + 1, after)
        share = tl.where(after[:, None] & inside[None, :], share, 1.0)
        here = (b * time + t)[:, None] * width + at[None, :]
        share, own = tl.associative_scan((share, tl.load(dm + here, mask=real, other=0.0)), 0, _then)
        totals = share * total[None, :] + own
        total = _last(totals, places, TIME)

        before = tl.where(begun, tl.load(m + here - width, mask=begun, other=0.0), start[None, :])
        change = before - tl.load(u + here, mask=real, other=0.0)
        k, _ = _soften(keep, gate, b * time + t, t >= 0)
        into = k * totals
        if keep is not None:
            shares = tl.where(real, totals * (gate - 1.0) * change, 0.0)
            tl.store(dkeep + (b * time + t) * tl.num_programs(1) + tl.program_id(1), tl.sum(shares, 1), mask=t >= 0)
        tl.store(du + here, into * (1.0 - gate), mask=real)
        dgate += tl.sum(tl.where(real, into * change, 0.0), 0)
    tl.store(ddecay + b * width + at, dgate, mask=inside)
    if m0 is not None:
        first_share = tl.load(decay + at, mask=inside, other=0.0)
        if keep is not None:
            k = tl.load(keep + b * time)
            first_share = k * first_share + (1.0 - k)
        tl.store(dm0 + b * width + at, total * first_share, mask=inside)


def _grid(batch: int, width: int) -> tuple[int, int]:
    return batch, triton.cdiv(width, TILE["BLOCK"])


# The four take and write what those of `scan` do.


def gate_scan(f: Tensor, c: Tensor, keep: Tensor | None, h0: Tensor | None, h: Tensor) -> None:
    """Writes h (B, T, W), all states of f and c (B, T, W); see `ops.reference.gate_scan`."""
    batch, time, width = h.shape
    launch(_gate_chunks, _grid(batch, width), f, c, keep, h0, h, *f.stride()[:2], time, width, **TILE)


def gate_scan_backward(
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
    """Writes df, dc (B, T, W), and dkeep in parts and dh0 (B, W) where they are not None."""
    batch, time, width = h.shape
    tensors = (f, c, keep, h0, h, dh, df, dc, dkeep, dh0)
    strides = (*f.stride()[:2], *df.stride()[:2])
    launch(_gate_chunks_backward, _grid(batch, width), *tensors, *strides, time, width, **TILE)


def leaky_scan(u: Tensor, decay: Tensor, keep: Tensor | None, m0: Tensor | None, m: Tensor) -> None:
    """Writes m (B, T, W), all states of u (B, T, W) with `decay` (W,); see `ops.reference.leaky_scan`."""
    batch, time, width = m.shape
    launch(_leaky_chunks, _grid(batch, width), u, decay, keep, m0, m, time, width, **TILE)


def leaky_scan_backward(
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
    """Writes du (B, T, W) and ddecay (B, W), and dkeep in parts and dm0 (B, W) where they are not None."""
    batch, time, width = m.shape
    tensors = (u, decay, keep, m0, m, dm, du, ddecay, dkeep, dm0)
    launch(_leaky_chunks_backward, _grid(batch, width), *tensors, time, width, **TILE)
