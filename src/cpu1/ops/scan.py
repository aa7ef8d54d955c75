"""The recurrences through time, and the MLGRU mixer built on one."""

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from cpu1.ops import reference
from cpu1.ops.native import address, beside, dense, optional, train


@beside(reference.gate_scan)
def gate_scan(f: Tensor, c: Tensor, keep: Tensor | None = None, h0: Tensor | None = None) -> Tensor:
    h: Tensor = _GateScan.apply(f, c, keep, h0)
    return h


@beside(reference.mlgru_mix)
def mlgru_mix(fcg: Tensor, keep: Tensor | None = None, h0: Tensor | None = None) -> tuple[Tensor, Tensor]:
    u, h_last = _MlgruMix.apply(fcg, keep, h0)
    return u, h_last


@beside(reference.leaky_scan)
def leaky_scan(u: Tensor, decay: Tensor, keep: Tensor | None = None, m0: Tensor | None = None) -> Tensor:
    m: Tensor = _LeakyScan.apply(u, decay, keep, m0)
    return m


class _GateScan(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, f: Tensor, c: Tensor, keep: Tensor | None, h0: Tensor | None) -> Tensor:
        batch, time, width = size = f.shape
        if f.stride() != c.stride() or f.stride(2) != 1:  # slices of one tensor are read where they lie
            f, c = dense(f, *size), dense(c, *size)
        keep, h0 = optional(keep, batch, time), optional(h0, batch, width)
        h = f.new_empty(size)
        strides = f.stride(0), f.stride(1)
        train.gate_scan(
            address(f),
            address(c),
            *strides,
            address(keep),
            address(h0),
            address(h),
            *size,
            torch.get_num_threads(),
        )
        ctx.save_for_backward(f, c, keep, h0, h)
        return h

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, dh: Tensor) -> tuple[Tensor | None, ...]:
        f, c, keep, h0, h = ctx.saved_tensors
        batch, _, width = size = h.shape
        dh = dense(dh, *size)
        df, dc, dh0 = h.new_empty(size), h.new_empty(size), h.new_empty(batch, width)
        dkeep = torch.empty_like(keep) if ctx.needs_input_grad[2] else None
        train.gate_scan_backward(
            *(address(f), address(c), f.stride(0), f.stride(1), address(keep), address(h0), address(h)),
            *(
                address(dh),
                address(df),
                address(dc),
                df.stride(0),
                df.stride(1),
                address(dkeep),
                address(dh0),
            ),
            *size,
            torch.get_num_threads(),
        )
        return df, dc, dkeep, dh0 if h0 is not None else None


class _MlgruMix(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, fcg: Tensor, keep: Tensor | None, h0: Tensor | None) -> tuple[Tensor, Tensor]:
        batch, time, stacked = fcg.shape
        width = stacked // 3
        fcg = dense(fcg, batch, time, 3 * width)
        keep, h0 = optional(keep, batch, time), optional(h0, batch, width)
        h, u, r = (
            fcg.new_empty(batch, time, width),
            fcg.new_empty(batch, time, width),
            fcg.new_empty(batch, time),
        )
        f, c, g = (address(fcg, part * width) for part in range(3))
        threads = torch.get_num_threads()
        strides = time * stacked, stacked
        train.gate_scan(f, c, *strides, address(keep), address(h0), address(h), batch, time, width, threads)
        shape = batch * time, width, stacked
        train.gated_norm(address(h), g, address(u), address(r), *shape, reference.EPS, threads)
        ctx.save_for_backward(fcg, keep, h0, h, r)
        h_last = h[:, -1].clone()
        ctx.mark_non_differentiable(h_last)
        return u, h_last

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, du: Tensor, _: Tensor) -> tuple[Tensor | None, ...]:
        fcg, keep, h0, h, r = ctx.saved_tensors
        batch, time, width = h.shape
        du = dense(du, batch, time, width)
        dfcg, dh0 = torch.empty_like(fcg), h.new_empty(batch, width)
        dkeep = torch.empty_like(keep) if ctx.needs_input_grad[1] else None
        f, c, g = (address(fcg, part * width) for part in range(3))
        df, dc, dg = (address(dfcg, part * width) for part in range(3))
        dh = dc  # the state's gradient waits where c's will be written
        threads = torch.get_num_threads()
        shape = batch * time, width, 3 * width
        train.gated_norm_backward(address(du), address(h), g, address(r), dh, dg, *shape, threads)
        strides = time * 3 * width, 3 * width
        train.gate_scan_backward(
            *(f, c, *strides, address(keep), address(h0), address(h)),
            *(dh, df, dc, *strides, address(dkeep), address(dh0)),
            *(batch, time, width, threads),
        )
        return dfcg, dkeep, dh0 if h0 is not None else None


class _LeakyScan(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, u: Tensor, decay: Tensor, keep: Tensor | None, m0: Tensor | None) -> Tensor:
        batch, time, width = size = u.shape
        u, decay = dense(u, *size), dense(decay, width)
        keep, m0 = optional(keep, batch, time), optional(m0, batch, width)
        m = torch.empty_like(u)
        inputs = (address(tensor) for tensor in (u, decay, keep, m0, m))
        train.leaky_scan(*inputs, *size, torch.get_num_threads())
        ctx.save_for_backward(u, decay, keep, m0, m)
        return m

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, dm: Tensor) -> tuple[Tensor | None, ...]:
        u, decay, keep, m0, m = ctx.saved_tensors
        batch, _, width = size = m.shape
        dm = dense(dm, *size)
        du, ddecay, dm0 = torch.empty_like(u), torch.empty_like(decay), m.new_empty(batch, width)
        dkeep = torch.empty_like(keep) if ctx.needs_input_grad[2] else None
        tensors = (address(tensor) for tensor in (u, decay, keep, m0, m, dm, du, ddecay, dkeep, dm0))
        train.leaky_scan_backward(*tensors, *size, torch.get_num_threads())
        return du, ddecay, dkeep, dm0 if m0 is not None else None
