"""The operations of training in plain torch: the definition that every fast form is compared with.

The code takes any floating dtype (float64 for `gradcheck`) on any device. Gradients are autograd's.

Shapes: B streams, T steps, D width, H hidden width, V symbols. In products: M rows, K inputs, N outputs, R rank.
In `look_back`: N units, L symbols of look-back.
"""

from collections.abc import Sequence
from typing import Any, Literal, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

Precision = Literal["bf16", "fp32"]
EPS = 1e-6  # added to the mean square in every norm
LEVELS = 127  # activations are quantised to the integers of [-127, 127]
SILENT = 2.0**-100  # a row without a larger value quantises to zeros: its scale would leave the range of fp32


def rms_norm(x: Tensor, gain: Tensor | None = None, eps: float = EPS) -> Tensor:
    """x / sqrt(mean(x²) + eps) over the last dimension, times `gain` (D,) if given (arXiv 1910.07467)."""
    normed = x * torch.rsqrt(x.square().mean(-1, keepdim=True) + eps)
    return normed if gain is None else normed * gain


class Quantised(NamedTuple):
    """Rows x̂ (..., K) in int8: x̂ ~ q s."""

    q: Tensor  # (..., K) int8
    s: Tensor  # (...)
    q_real: Tensor  # (..., K) q as real numbers, which carry the gradient; the fast form leaves them without values


def branch(x: Tensor, y: Tensor, keep: Tensor | None = None, precision: Precision | None = None) -> Tensor:
    """Adds a branch to the residual stream: x + k y (B, T, D), with k = `keep` (B, T), or 1 without it.

    `precision` is the dtype in which the fast form keeps y for the gradient of k; None follows torch.autocast.
    """
    return x + y if keep is None else torch.addcmul(x, keep.unsqueeze(-1), y)


def gate_scan(f: Tensor, c: Tensor, keep: Tensor | None = None, h0: Tensor | None = None) -> Tensor:
    """The states h (B, T, D) of the MLGRU recurrence (arXiv 2406.02528), from pre-activations f, c (B, T, D).

    h_t = F h_{t-1} + (1 - F) C with F = sigmoid(f), C = silu(c); `keep` k (B, T) in [0, 1] makes it
    k (F h_{t-1} + (1 - F) C) + (1 - k) h_{t-1}; `h0` (B, D) is the state before the first step (None: zeros).
    """
    gate = torch.sigmoid(f)
    return _recur(gate, (1 - gate) * F.silu(c), keep, h0)


def leaky_scan(u: Tensor, decay: Tensor, keep: Tensor | None = None, m0: Tensor | None = None) -> Tensor:
    """The leaky memory m_t = λ m_{t-1} + (1 - λ) u_t (B, T, D) of u (B, T, D), with λ = `decay` (D,) in (0, 1).

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
    """The MLGRU between its matrices: (u, h_last) from the stacked pre-activations [f, c, g] (B, T, 3D).

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
    """Absmean ternary weights (BitNet b1.58, arXiv 2402.17764): w int8 (N, K) of -1, 0, 1, and γ (len(parts),).

    `weight` (N, K) is a stack of matrices with parts[i] rows each. γ = mean|W| of each, 1 for an all-zero one.
    w = clip(round_half_even(W / γ), -1, 1), written as a comparison with γ/2, on which all processors agree.
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


def quantise(x: Tensor, gain: Tensor | None = None, eps: float = EPS, precision: Precision | None = None) -> Quantised:
    """Quantises x̂ = rms_norm(x) gain (..., K) to int8, absmax by row (BitNet b1.58, arXiv 2402.17764).

    s = max|x̂| / 127 and q = round_half_even(x̂ / s). The norm divides a row by one number, which x̂ / s cancels. So q
    is computed from x gain alone: it does not depend on the order in which the mean square was summed, and is the
    same integer on every processor. Zero rows (no value above 2^-100) have q = 0 and s = 1.
    The gradient is straight-through and not masked: q has that of x̂ / s with s held constant.
    `precision` is the dtype of that gradient in the fast form; None follows torch.autocast.
    """
    with torch.no_grad():
        scaled = x if gain is None else x * gain
        peak = scaled.abs().amax(-1)
        silent = peak < SILENT
        # not LEVELS / peak, which torch computes as LEVELS * (1 / peak): rounded twice
        per_level = torch.where(silent, torch.zeros_like(peak), torch.full_like(peak, LEVELS) / peak)
        q = (scaled * per_level[..., None]).round().clamp(-LEVELS, LEVELS).to(torch.int8)
        s = peak / LEVELS * torch.rsqrt(x.square().mean(-1) + eps)
        s = torch.where(silent, torch.ones_like(s), s)
    real = rms_norm(x, gain, eps) / s[..., None]
    return Quantised(q, s, real + (q.to(real.dtype) - real).detach())


def mlgru_quantise(
    fcg: Tensor,
    gain: Tensor | None = None,
    keep: Tensor | None = None,
    h0: Tensor | None = None,
    precision: Precision | None = None,
) -> tuple[Quantised, Tensor]:
    """The quantised output u (B, T, D) of `mlgru_mix`, times `gain` (D,) if given, and h_last (B, D)."""
    u, h_last = mlgru_mix(fcg, keep, h0)
    return quantise(u, gain, EPS, precision), h_last


def ternary_linear(
    x: Quantised, weight: Tensor, parts: Sequence[int], inner: Tensor | None = None, up: Tensor | None = None
) -> Tensor:
    """y (..., N) = (q wᵀ) s γ, with `weight` (N, K) ternarised to w and γ; q wᵀ is exact in integers.

    Gradients are straight-through: those of a product of x̂ = q s and W = γ w.
    A low-rank path is added if given: `inner` (..., parts * R) and `up` (N, R). Each part of y gets its R numbers of
    `inner` times its rows of `up`.
    """
    w, scale = ternarise(weight, parts)
    row_scale = scale.repeat_interleave(torch.tensor(list(parts), device=scale.device), output_size=len(w))
    y: Tensor = _StraightThrough.apply(x.q_real, weight, x.s, w, row_scale)
    if inner is None or up is None:
        return y
    paths = zip(inner.split(up.shape[1], -1), up.split(list(parts)), strict=True)
    return y + torch.cat([part @ matrix.T for part, matrix in paths], -1)


def ternary_swiglu(
    x: Quantised, weight: Tensor, parts: Sequence[int], gain: Tensor | None = None, eps: float = EPS
) -> Quantised:
    """quantise(swiglu(y), gain, eps) of y = ternary_linear(x, weight, parts) (..., 2H), which is [gate, up].

    The fast form keeps y for the backward pass in the dtype of x.q_real.
    """
    return quantise(swiglu(ternary_linear(x, weight, parts)), gain, eps)


class _StraightThrough(torch.autograd.Function):
    """The product of quantised factors, with the gradient that real q and W = γ w would have."""

    @staticmethod
    def forward(ctx: Any, q_real: Tensor, weight: Tensor, s: Tensor, w: Tensor, scale: Tensor) -> Tensor:
        q = q_real.round()
        ctx.save_for_backward(q, s, w, scale)
        whole = (q.double() @ w.double().T).to(q_real.dtype)  # integers far below 2^24: exact
        return whole * s[..., None] * scale

    @staticmethod
    def backward(ctx: Any, dy: Tensor) -> tuple[Tensor | None, ...]:
        q, s, w, scale = ctx.saved_tensors
        dy = dy * s[..., None]
        return dy @ (w * scale[:, None]), dy.flatten(0, -2).T @ q.flatten(0, -2), None, None, None


def linear(
    x: Tensor, weight: Tensor, bias: Tensor | None = None, norm: bool = False, precision: Precision | None = None
) -> Tensor:
    """x Wᵀ + bias: (..., N) from x (..., K), weight (N, K), bias (N,). With `norm`, rms_norm(x) replaces x.

    At `precision` "bf16" the fast form rounds the factors of a product, and its result, to bf16; x and y stay fp32.
    None means bf16 inside torch.autocast and fp32 outside. The reference computes in the dtype of x.
    """
    return F.linear(rms_norm(x) if norm else x, weight, bias).to(x.dtype)


def relu2_mlp(
    x: Tensor, up: Tensor, up_bias: Tensor, down: Tensor, down_bias: Tensor, precision: Precision | None = None
) -> Tensor:
    """x + down relu(up norm(x) + up_bias)² + down_bias: x (..., D), up (H, D), down (D, H) (arXiv 2109.08668).

    The biases are (H,) and (D,); `precision` is as in `linear`.
    """
    hidden = linear(x, up, up_bias, norm=True).relu().square()
    return x + linear(hidden, down, down_bias)


def look_back(base: Tensor, vectors: Tensor, stream: Tensor) -> Tensor:
    """Adds to `base` (B, N, D) the `vectors` (V, L, D) of the L symbols before each position.

    `stream` (B, L + N) holds the symbols, L of them before the first position. vectors[:, k] belong to the symbol
    k + 1 positions back. A symbol of V or more adds nothing.
    """
    symbols, taps, _ = vectors.shape
    index = stream[:, :-1].unfold(1, taps, 1).flip(-1)  # (B, N, L): k + 1 positions back
    index = index.clamp_max(symbols) * taps + torch.arange(taps, device=stream.device)
    table = F.pad(vectors, (0, 0, 0, 0, 0, 1)).flatten(0, 1)
    return base + F.embedding_bag(index.flatten(0, 1), table, mode="sum").unflatten(0, base.shape[:2])


def gather_rows(table: Tensor, index: Tensor, levels: int, sparse: bool = False) -> Tensor:
    """The rows (..., W) of `table` (R, W) that `index` (...) int32 names, rounded to `levels` steps either way.

    A row is stored as whole numbers of [-levels, levels], with `levels` = 2^n - 1, times the smallest power of two
    that holds its largest value. The gradient is straight-through. The rows of index[..., k] are different ones for
    each k. `sparse` asks the fast form for a gradient of the rows that were read alone.
    """
    rows = F.embedding(index.long(), table)
    return rows + (round_rows(rows.detach(), levels) - rows.detach())


def row_scales(rows: Tensor, levels: int) -> Tensor:
    """The power of two (...) by which `gather_rows` divides each of `rows` (..., W); 1 for a row of zeros."""
    peak = rows.abs().amax(-1)
    _, exponent = torch.frexp(peak / (levels + 1))
    power = torch.ldexp(torch.ones_like(peak), exponent)  # above peak / (levels + 1)
    scale = torch.where(peak <= power * levels, power, 2 * power)
    return torch.where(peak > SILENT, scale, torch.ones_like(scale))


def round_rows(rows: Tensor, levels: int) -> Tensor:
    """`rows` (..., W) as `gather_rows` rounds them."""
    scale = row_scales(rows, levels)[..., None]
    return (rows / scale).round() * scale


def recall(
    x: Tensor, codes: Tensor, first: Tensor, second: Tensor, first_gains: Tensor, second_gains: Tensor, offsets: Tensor
) -> Tensor:
    """Adds to x (B, N, D) what the memory of a document says: codes (B, N, K, 3) uint8 of two bytes and a level.

    Context k adds first[a, k] first_gains[k, l] + second[b, k] second_gains[k, l] + offsets[k, l] for the bytes a, b
    and the level l; where l is 0, nothing is remembered and it adds the offset alone. `first` and `second` are
    (256, K, D), gains and offsets (K, S, D).
    """
    one, two, level = codes.long().unbind(-1)
    known = (level > 0).unsqueeze(-1)
    context = torch.arange(codes.shape[-2], device=codes.device)
    said = first[one, context] * first_gains[context, level] + second[two, context] * second_gains[context, level]
    return x + (torch.where(known, said, torch.zeros_like(said)) + offsets[context, level]).sum(-2)


def autocast_precision(x: Tensor) -> Precision:
    """The precision of products of x where none is named: bf16 inside torch.autocast, fp32 outside."""
    return "bf16" if torch.is_autocast_enabled(x.device.type) else "fp32"


def cross_entropy(logits: Tensor, target: Tensor, weight: Tensor | None = None) -> Tensor:
    """The sum of -weight log softmax(logits)[target] in nats: logits (M, V), target (M,), weight (M,)."""
    nats = F.cross_entropy(logits, target, reduction="none")
    return (nats if weight is None else nats * weight).sum()
