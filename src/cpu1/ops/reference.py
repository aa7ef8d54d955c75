"""The operations of training, said plainly: what every fast form is compared with.

Obvious torch code of any floating type (float64 for `gradcheck`), on any device; gradients are autograd's.
Shapes: B batch, T time (patches), D width, M rows, K inputs, N outputs.
"""

from collections.abc import Sequence
from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor

Precision = Literal["bf16", "fp32"]
EPS = 1e-6  # added to the mean square in every norm
LEVELS = 127  # activations are quantised to the integers of [-127, 127]
SILENT = 2.0**-100  # a row with no larger value quantises to zeros (its scale would leave the range of fp32)


def rms_norm(x: Tensor, gain: Tensor | None = None, eps: float = EPS) -> Tensor:
    """x / sqrt(mean(x²) + eps) over the last dimension, times `gain` (D,) if given (arXiv 1910.07467)."""
    normed = x * torch.rsqrt(x.square().mean(-1, keepdim=True) + eps)
    return normed if gain is None else normed * gain


def gate_scan(f: Tensor, c: Tensor, keep: Tensor | None = None, h0: Tensor | None = None) -> Tensor:
    """The states h (B, T, D) of the MLGRU recurrence (arXiv 2406.02528), from pre-activations f, c (B, T, D).

    h_t = F h_{t-1} + (1 - F) C with F = sigmoid(f), C = silu(c); `keep` k (B, T) in [0, 1] makes it
    k (F h_{t-1} + (1 - F) C) + (1 - k) h_{t-1}; `h0` (B, D) is the state before the first step (None: zeros).
    """
    gate = torch.sigmoid(f)
    return _recur(gate, (1 - gate) * F.silu(c), keep, h0)


def leaky_scan(u: Tensor, decay: Tensor, keep: Tensor | None = None, m0: Tensor | None = None) -> Tensor:
    """A leaky memory m_t = λ m_{t-1} + (1 - λ) u_t (B, T, D) of u (B, T, D), with λ = `decay` (D,) in (0, 1).

    `keep` (B, T) and `m0` (B, D) are as in gate_scan.
    """
    return _recur(decay.expand_as(u), (1 - decay) * u, keep, m0)


def _recur(gate: Tensor, fresh: Tensor, keep: Tensor | None, state: Tensor | None) -> Tensor:
    """h_t = gate_t h_{t-1} + fresh_t along dimension 1, softened by `keep`."""
    if state is None:
        state = torch.zeros_like(fresh[:, 0])
    states = []
    for t in range(fresh.shape[1]):
        moved = gate[:, t] * state + fresh[:, t]
        if keep is not None:
            moved = torch.lerp(state, moved, keep[:, t, None])
        state = moved
        states.append(state)
    return torch.stack(states, 1)


def mlgru_mix(fcg: Tensor, keep: Tensor | None = None, h0: Tensor | None = None) -> tuple[Tensor, Tensor]:
    """The mixer between its matrices: (u, h_last) from the stacked pre-activations [f, c, g] (B, T, 3D).

    u (B, T, D) = rms_norm(h) silu(g) with h = gate_scan(f, c, keep, h0); h_last (B, D) = h_T, detached.
    """
    f, c, g = fcg.chunk(3, -1)
    h = gate_scan(f, c, keep, h0)
    return rms_norm(h) * F.silu(g), h[:, -1].detach().clone()


def swiglu(gate_up: Tensor) -> Tensor:
    """silu(gate) * up (..., H) from the stacked [gate, up] (..., 2H) (arXiv 2002.05202)."""
    gate, up = gate_up.chunk(2, -1)
    return F.silu(gate) * up


@torch.no_grad()
def ternarise(weight: Tensor, parts: Sequence[int]) -> tuple[Tensor, Tensor]:
    """(w int8 (N, K) of -1, 0, 1; γ (len(parts),)): absmean ternary weights (BitNet b1.58, arXiv 2402.17764).

    `weight` (N, K) is a stack of matrices of parts[i] rows each; γ = mean|W| of each, 1 for an all-zero one.
    w = clip(round_half_even(W / γ), -1, 1), said as a comparison with γ/2, which all processors agree on.
    """
    pieces, scales = [], []
    for piece in weight.split(list(parts)):
        # in double: its rounding hides the order of the sum, so γ is the same everywhere
        scale = piece.double().abs().mean().to(weight.dtype)
        scale = torch.where(scale == 0, torch.ones_like(scale), scale)
        half = scale / 2
        pieces.append((piece > half).to(torch.int8) - (piece < -half).to(torch.int8))
        scales.append(scale)
    return torch.cat(pieces), torch.stack(scales)


@torch.no_grad()
def quantise(x: Tensor, gain: Tensor | None = None, eps: float = EPS) -> tuple[Tensor, Tensor]:
    """(q int8 (..., K), s (...)): x̂ = rms_norm(x) gain in absmax int8 a row, x̂ ~ q s (BitNet b1.58).

    s = max|x̂| / 127, q = round_half_even(x̂ / s). The norm divides a row by one number, which x̂ / s cancels:
    q is computed from x gain alone, so that it does not depend on how the mean square was summed, and is the
    same integer on every processor. Rows that are zero (below 2^-100) have q = 0, s = 1.
    """
    scaled = x if gain is None else x * gain
    peak = scaled.abs().amax(-1)
    silent = peak < SILENT
    per_level = torch.where(silent, torch.zeros_like(peak), LEVELS / peak)
    q = (scaled * per_level[..., None]).round().clamp(-LEVELS, LEVELS).to(torch.int8)
    s = peak / LEVELS * torch.rsqrt(x.square().mean(-1) + eps)
    return q, torch.where(silent, torch.ones_like(s), s)


def bit_linear(
    x: Tensor,
    weight: Tensor,
    parts: Sequence[int],
    gain: Tensor | None = None,
    eps: float = EPS,
    precision: Precision | None = None,
) -> Tensor:
    """BitLinear (BitNet b1.58): y (..., N) = (q wᵀ) s γ from x (..., K), `weight` (N, K), `gain` (K,).

    q, s = quantise(x, gain, eps); w, γ = ternarise(weight, parts); q wᵀ is exact in integers. Gradients are
    straight-through, not masked: those of a product of x̂ = q s and W = γ w, on through gain and norm.
    `precision` is that of the fast form's two backward products, as in `linear`; the reference computes in
    the type of x.
    """
    q, s = quantise(x, gain, eps)
    w, scale = ternarise(weight, parts)
    row_scale = scale.repeat_interleave(torch.tensor(list(parts), device=scale.device))
    y: Tensor = _StraightThrough.apply(rms_norm(x, gain, eps), weight, q, s, w, row_scale)
    return y


class _StraightThrough(torch.autograd.Function):
    """The product of what was quantised, with the gradient as if x̂ = q s and W = γ w had been given."""

    @staticmethod
    def forward(ctx: Any, normed: Tensor, weight: Tensor, q: Tensor, s: Tensor, w: Tensor, scale: Tensor) -> Tensor:
        ctx.save_for_backward(q, s, w, scale)
        whole = (q.double() @ w.double().T).to(normed.dtype)  # integers far below 2^24: exact
        return whole * s[..., None] * scale

    @staticmethod
    def backward(ctx: Any, dy: Tensor) -> tuple[Tensor | None, ...]:
        q, s, w, scale = ctx.saved_tensors
        dequantised = q * s[..., None]
        dx = dy @ (w * scale[:, None])
        dw = dy.flatten(0, -2).T @ dequantised.flatten(0, -2)
        return dx, dw, None, None, None, None


def linear(x: Tensor, weight: Tensor, bias: Tensor | None = None, precision: Precision | None = None) -> Tensor:
    """x Wᵀ + bias: (..., N) from x (..., K), weight (N, K), bias (N,).

    "bf16": the fast form rounds what enters a product, and its result, to bf16; it takes and gives fp32.
    None: bf16 inside torch.autocast, fp32 outside. The reference computes in the type of x.
    """
    return F.linear(x, weight, bias).to(x.dtype)


def autocast_precision() -> Precision:
    """What products are computed in when nothing else is said."""
    return "bf16" if torch.is_autocast_enabled("cpu") else "fp32"


def cross_entropy(logits: Tensor, target: Tensor, weight: Tensor | None = None) -> Tensor:
    """The sum of -weight log softmax(logits)[target] in nats: logits (M, V), target (M,), weight (M,)."""
    nats = F.cross_entropy(logits, target, reduction="none")
    return (nats if weight is None else nats * weight).sum()
