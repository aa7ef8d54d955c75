"""The recurrences through time, and the MLGRU mixer built on one.

Shapes: B streams, T steps, D width. `keep` (B, T) softens a step's update, see `reference.gate_scan`.
"""

from typing import Any

import torch
from torch import Tensor

from cpu1.ops import reference
from cpu1.ops.native import address, addresses, dense, fast_form_of, optional, train
from cpu1.ops.operator import Operator, absent, none_if_absent

# -------------------------------------------------------------------------------------- gate scan


@fast_form_of(reference.gate_scan)
def gate_scan(f: Tensor, c: Tensor, keep: Tensor | None = None, h0: Tensor | None = None) -> Tensor:
    h: Tensor = gate_scan_op(f, c, keep, h0)
    return h


gate_scan_op = Operator(
    "gate_scan(Tensor f, Tensor c, Tensor? keep, Tensor? h0) -> Tensor", lambda f, c, keep, h0: f.new_empty(f.shape)
)
gate_scan_backward_op = Operator(
    "gate_scan_backward(Tensor dh, Tensor f, Tensor c, Tensor? keep, Tensor? h0, Tensor h)"
    " -> (Tensor, Tensor, Tensor, Tensor)",
    lambda dh, f, c, keep, h0, h: (
        torch.empty_like(h),
        torch.empty_like(h),
        *(absent(h) if tensor is None else torch.empty_like(tensor) for tensor in (keep, h0)),
    ),
)


@gate_scan_op.kernel("CPU")
def _gate_scan(f: Tensor, c: Tensor, keep: Tensor | None, h0: Tensor | None) -> Tensor:
    f, c = one_layout(f, c)
    h = f.new_empty(f.shape)
    _scan(f, c, keep, h0, h)
    return h


@gate_scan_backward_op.kernel("CPU")
def _gate_scan_backward(
    dh: Tensor, f: Tensor, c: Tensor, keep: Tensor | None, h0: Tensor | None, h: Tensor
) -> tuple[Tensor, ...]:
    f, c = one_layout(f, c)
    dh, df, dc = dense(dh, *h.shape), torch.empty_like(h), torch.empty_like(h)
    return df, dc, *_scan_backward(f, c, keep, h0, h, dh, df, dc)


@gate_scan_op.gradient(lambda ctx, inputs, h: ctx.save_for_backward(*inputs, h))
def _(ctx: Any, dh: Tensor) -> tuple[Any, ...]:
    df, dc, dkeep, dh0 = gate_scan_backward_op(dh, *ctx.saved_tensors)
    return df, dc, none_if_absent(dkeep), none_if_absent(dh0)


def one_layout(f: Tensor, c: Tensor) -> tuple[Tensor, Tensor]:
    """f and c (B, T, D) in one memory layout: as they are if they share one (slices of a tensor), else contiguous.

    Raises ValueError when their shapes differ.
    """
    if f.shape == c.shape and f.stride() == c.stride() and f.stride(2) == 1:
        return f, c
    return f.contiguous(), dense(c, *f.shape)


def _scan(f: Tensor, c: Tensor, keep: Tensor | None, h0: Tensor | None, h: Tensor) -> None:
    """The states of f and c (B, T, D) of one layout into h."""
    batch, time, width = h.shape
    keep, h0 = optional(keep, batch, time), optional(h0, batch, width)
    threads = torch.get_num_threads()
    train.gate_scan(*addresses(f, c), f.stride(0), f.stride(1), *addresses(keep, h0, h), *h.shape, threads)


def _scan_backward(
    f: Tensor, c: Tensor, keep: Tensor | None, h0: Tensor | None, h: Tensor, dh: Tensor, df: Tensor, dc: Tensor
) -> tuple[Tensor, Tensor]:
    """Writes df and dc, which have the layout of dh; returns the gradients of keep and h0."""
    batch, time, width = h.shape
    keep, h0 = optional(keep, batch, time), optional(h0, batch, width)
    dkeep, dh0 = None if keep is None else torch.empty_like(keep), h.new_empty(batch, width)
    train.gate_scan_backward(
        *(*addresses(f, c), f.stride(0), f.stride(1), *addresses(keep, h0, h)),
        *(*addresses(dh, df, dc), df.stride(0), df.stride(1), *addresses(dkeep, dh0)),
        *(batch, time, width, torch.get_num_threads()),
    )
    return absent(h) if dkeep is None else dkeep, absent(h) if h0 is None else dh0


# ------------------------------------------------------------------------------------------ MLGRU


@fast_form_of(reference.mlgru_mix)
def mlgru_mix(fcg: Tensor, keep: Tensor | None = None, h0: Tensor | None = None) -> tuple[Tensor, Tensor]:
    u, _, h_last = mlgru_mix_op(fcg, keep, h0)
    return u, h_last


def _empty_mix(fcg: Tensor, keep: Any, h0: Any) -> tuple[Tensor, Tensor, Tensor]:
    batch, time, stacked = fcg.shape
    u = fcg.new_empty(batch, time, stacked // 3)
    return u, torch.empty_like(u), fcg.new_empty(batch, stacked // 3)


mlgru_mix_op = Operator("mlgru_mix(Tensor fcg, Tensor? keep, Tensor? h0) -> (Tensor, Tensor, Tensor)", _empty_mix)
mlgru_mix_backward_op = Operator(
    "mlgru_mix_backward(Tensor du, Tensor fcg, Tensor? keep, Tensor? h0, Tensor h) -> (Tensor, Tensor, Tensor)",
    lambda du, fcg, keep, h0, h: (
        torch.empty_like(fcg),
        *(absent(fcg) if tensor is None else torch.empty_like(tensor) for tensor in (keep, h0)),
    ),
)


def gate_scan_rows(fcg: Tensor, keep: Tensor | None, h0: Tensor | None) -> Tensor:
    """The states h (B, T, D) of the stacked pre-activations [f, c, g] (B, T, 3D).

    Raises ValueError when their width is no multiple of three.
    """
    batch, time, stacked = fcg.shape
    f, c, _ = dense(fcg, batch, time, stacked // 3 * 3).chunk(3, -1)
    h = f.new_empty(f.shape)
    _scan(f, c, keep, h0, h)
    return h


def gate_scan_rows_backward(
    fcg: Tensor, keep: Tensor | None, h0: Tensor | None, h: Tensor, dfcg: Tensor
) -> tuple[Tensor, Tensor]:
    """Writes the gradients of f and c into dfcg (B, T, 3D); returns those of keep (B, T) and h0 (B, D).

    On entry the second third of dfcg holds the gradient of h, which that of c overwrites.
    """
    (f, c, _), (df, dc, _) = fcg.chunk(3, -1), dfcg.chunk(3, -1)
    return _scan_backward(f, c, keep, h0, h, dc, df, dc)


@mlgru_mix_op.kernel("CPU")
def _mlgru_mix(fcg: Tensor, keep: Tensor | None, h0: Tensor | None) -> tuple[Tensor, Tensor, Tensor]:
    h = gate_scan_rows(fcg, keep, h0)
    fcg, width, u = fcg.contiguous(), h.shape[-1], torch.empty_like(h)
    train.gated_norm(
        *(address(h), address(fcg, 2 * width), 3 * width, address(u)),
        *(h.numel() // width, width, reference.EPS, torch.get_num_threads()),
    )
    return u, h, h[:, -1].clone()


@mlgru_mix_backward_op.kernel("CPU")
def _mlgru_mix_backward(
    du: Tensor, fcg: Tensor, keep: Tensor | None, h0: Tensor | None, h: Tensor
) -> tuple[Tensor, ...]:
    width = h.shape[-1]
    du, fcg = dense(du, *h.shape), fcg.contiguous()
    dfcg = torch.empty_like(fcg)
    train.gated_norm_backward(
        *(address(du), address(h), address(fcg, 2 * width), address(dfcg, width), address(dfcg, 2 * width)),
        *(3 * width, h.numel() // width, width, reference.EPS, torch.get_num_threads()),
    )
    return dfcg, *gate_scan_rows_backward(fcg, keep, h0, h, dfcg)


@mlgru_mix_op.gradient(lambda ctx, inputs, out: ctx.save_for_backward(*inputs, out[1]), constants=(1, 2))
def _(ctx: Any, du: Tensor, *_: None) -> tuple[Any, ...]:
    dfcg, dkeep, dh0 = mlgru_mix_backward_op(du, *ctx.saved_tensors)
    return dfcg, none_if_absent(dkeep), none_if_absent(dh0)


# ------------------------------------------------------------------------------------- leaky scan


@fast_form_of(reference.leaky_scan)
def leaky_scan(u: Tensor, decay: Tensor, keep: Tensor | None = None, m0: Tensor | None = None) -> Tensor:
    m: Tensor = leaky_scan_op(u, decay, keep, m0)
    return m


leaky_scan_op = Operator(
    "leaky_scan(Tensor u, Tensor decay, Tensor? keep, Tensor? m0) -> Tensor",
    lambda u, decay, keep, m0: u.new_empty(u.shape),
)
leaky_scan_backward_op = Operator(
    "leaky_scan_backward(Tensor dm, Tensor u, Tensor decay, Tensor? keep, Tensor? m0, Tensor m)"
    " -> (Tensor, Tensor, Tensor, Tensor)",
    lambda dm, u, decay, keep, m0, m: (
        torch.empty_like(m),
        torch.empty_like(decay),
        *(absent(m) if tensor is None else torch.empty_like(tensor) for tensor in (keep, m0)),
    ),
)


@leaky_scan_op.kernel("CPU")
def _leaky_scan(u: Tensor, decay: Tensor, keep: Tensor | None, m0: Tensor | None) -> Tensor:
    batch, time, width = size = u.shape
    u, decay, keep, m0 = u.contiguous(), dense(decay, width), optional(keep, batch, time), optional(m0, batch, width)
    m = torch.empty_like(u)
    train.leaky_scan(*addresses(u, decay, keep, m0, m), *size, torch.get_num_threads())
    return m


@leaky_scan_backward_op.kernel("CPU")
def _leaky_scan_backward(
    dm: Tensor, u: Tensor, decay: Tensor, keep: Tensor | None, m0: Tensor | None, m: Tensor
) -> tuple[Tensor, ...]:
    batch, time, width = size = m.shape
    dm, u, decay = dense(dm, *size), u.contiguous(), decay.contiguous()
    keep, m0 = optional(keep, batch, time), optional(m0, batch, width)
    du, ddecay, dm0 = torch.empty_like(u), torch.empty_like(decay), m.new_empty(batch, width)
    dkeep = None if keep is None else torch.empty_like(keep)
    tensors = addresses(u, decay, keep, m0, m, dm, du, ddecay, dkeep, dm0)
    train.leaky_scan_backward(*tensors, *size, torch.get_num_threads())
    return du, ddecay, absent(m) if dkeep is None else dkeep, absent(m) if m0 is None else dm0


@leaky_scan_op.gradient(lambda ctx, inputs, m: ctx.save_for_backward(*inputs, m))
def _(ctx: Any, dm: Tensor) -> tuple[Any, ...]:
    du, ddecay, dkeep, dm0 = leaky_scan_backward_op(dm, *ctx.saved_tensors)
    return du, ddecay, none_if_absent(dkeep), none_if_absent(dm0)
