"""Causal multi-head attention with RoPE and QK-norm, whole or folded into segments.

QK-norm (RMSNorm on q and k without gain) is ours: without it bf16 at the doubled rate diverges. The folded form is a
reconstruction: no source describes it under the card's name. The context is folded into segments of `segment` steps,
and a query sees its own segment causally and the one before it. So its state is bounded, as in a recurrent model, and
it adds no parameters.

Shapes: B streams, T steps, D width, H heads, S cached steps.
"""

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from cpu1 import ops
from cpu1.errors import UserError
from cpu1.format.program import Slice
from cpu1.model.recipe import Recipe, ingredient

if TYPE_CHECKING:
    from cpu1.model.builder import Builder

LONG = 2048  # steps seen, above which what is only read is read by torch's fused form


@ingredient("mixer")
class Attention:
    """Attention over the whole context."""

    head_size: int = 64

    def build(self, recipe: Recipe) -> nn.Module:
        """The mixer of one block. UserError unless the head size is even and divides the width."""
        return AttentionMixer(recipe, self.head_size, segment=None)


@ingredient("mixer")
class FoldedAttention:
    """Attention over a step's own segment and the one before it."""

    head_size: int = 64
    segment: int = 64  # steps of the trunk

    def build(self, recipe: Recipe) -> nn.Module:
        """The mixer of one block. UserError unless the head size is even and divides the width."""
        return AttentionMixer(recipe, self.head_size, self.segment)


@dataclass
class KeyValueCache:
    """Keys and values of the S steps that a later query may see, the last at position `end` - 1."""

    key: Tensor  # (B, H, S, head size), rotated
    value: Tensor  # (B, H, S, head size)
    bias: Tensor  # (B, S): log k of the DeleteGate, 0 without one
    end: int  # steps seen so far


class AttentionMixer(nn.Module):
    """Attention of one block: stacked projections to q, k and v, and W_o."""

    input: Any
    residual: Any
    output: Any

    def __init__(self, recipe: Recipe, head_size: int, segment: int | None) -> None:
        super().__init__()
        width = recipe.width
        if width % head_size or head_size % 2:
            raise UserError(f"attention: head size {head_size} must be even and divide the width {width}")
        self.heads, self.head_size, self.segment = width // head_size, head_size, segment
        self.input = recipe.linear.input(width, (width, width, width))  # q, k, v
        self.residual = recipe.residual.build(width, (width, width, width)) if recipe.residual else None
        self.output = recipe.linear.output(width, width)

    def forward(self, x: Tensor, state: KeyValueCache | None, keep: Tensor | None) -> tuple[Tensor, KeyValueCache]:
        """x (B, T, D) -> y (B, T, D) and the cache that the next call needs; `state` is that of the last call.

        `keep` k (B, T): a step is seen by later ones with log k added to its scores.
        """
        batch, steps, width = x.shape
        qkv = self.input(x) if self.residual is None else self.input(x, *self.residual(x))
        qkv = qkv.view(batch, steps, 3, self.heads, self.head_size).permute(2, 0, 3, 1, 4)
        start = state.end if state else 0
        (q, k), v = rotate(ops.rms_norm(qkv[:2]), start), qkv[2]
        bias = keep.clamp_min(1e-30).log() if keep is not None else x.new_zeros(batch, steps)
        cache = KeyValueCache(k, v, bias, start + steps)
        if state is not None:
            key, value = torch.cat((state.key, k), dim=-2), torch.cat((state.value, v), dim=-2)
            cache = KeyValueCache(key, value, torch.cat((state.bias, bias), dim=-1), cache.end)
        mixed = self._attend(q, cache, gated=keep is not None)
        return self.output(mixed.transpose(1, 2).reshape(batch, steps, width)), self._trim(cache)

    def lower(self, to: "Builder", x: Slice) -> Slice:
        """Appends the mixer's operations on the residual stream `x`; returns the slice of y."""
        qkv, mixed = to.register("mixer.input", 3 * x.size), to.register("mixer.mixed", x.size)
        out = to.register("branch", x.size)
        self.input.lower(to, x, qkv)
        if self.residual is not None:
            self.residual.lower(to, x, qkv)
        sizes = {"heads": self.heads, "head_size": self.head_size, "segment": self.segment or 0}
        to.emit("attend", qkv, mixed, **sizes, state=to.state(self, 2 * x.size))
        self.output.lower(to, mixed, out)
        return out

    def _attend(self, q: Tensor, cache: KeyValueCache, gated: bool) -> Tensor:
        """Values (B, H, T, head size) for queries of that shape over the cache, whose last T entries are their steps.

        The products are written out: at these lengths torch's fused form takes four times as long on a CPU, mostly in
        the backward pass. A whole document that is only read is longer: there the scores would take gigabytes.
        """
        steps, seen = q.shape[-2], cache.key.shape[-2]
        query = torch.arange(cache.end - steps, cache.end, device=q.device)[:, None]
        key = torch.arange(cache.end - seen, cache.end, device=q.device)[None, :]
        visible = self._visible(query, key)
        if seen > LONG and not gated and not torch.is_grad_enabled():
            long: Tensor = functional.scaled_dot_product_attention(q, cache.key, cache.value, visible)
            return long
        bias = torch.zeros(steps, seen, dtype=q.dtype, device=q.device).masked_fill(~visible, -torch.inf)
        if gated:
            # A deleted step still sees itself, so that no row is empty; its branch is scaled by k anyway.
            bias = bias + cache.bias[:, None, None, :] * (query != key)
        scores = ops.autocast_product(q, cache.key.transpose(-1, -2)) * self.head_size**-0.5 + bias
        return ops.autocast_product(scores.softmax(-1), cache.value)

    def _visible(self, query: Tensor, key: Tensor) -> Tensor:
        """Which positions `key` (1, S) each position `query` (T, 1) may see: bool (T, S)."""
        causal = key <= query
        if self.segment is None:
            return causal
        return causal & (query // self.segment - key // self.segment <= 1)

    def _trim(self, cache: KeyValueCache) -> KeyValueCache:
        """The cache without the steps that no later query can see."""
        if self.segment is None:
            return cache
        oldest = max(0, cache.end // self.segment - 1) * self.segment
        drop = max(0, oldest - (cache.end - cache.key.shape[-2]))
        return KeyValueCache(cache.key[:, :, drop:], cache.value[:, :, drop:], cache.bias[:, drop:], cache.end)


def rotate(x: Tensor, start: int, base: float = 10_000.0) -> Tensor:
    """Rotary positions (RoFormer, arXiv 2104.09864) for x (..., T, head size), the first of them `start`.

    Pairs of neighbouring values are rotated.
    """
    half = x.shape[-1] // 2
    # Angles in float64: far into a text fp32 would lose the fraction of a turn.
    rates = torch.exp(torch.arange(half, device=x.device, dtype=torch.float64) * (-math.log(base) / half))
    positions = torch.arange(start, start + x.shape[-2], device=x.device, dtype=torch.float64)
    angles = positions[:, None] * rates
    turns = torch.complex(angles.cos().to(x.dtype), angles.sin().to(x.dtype))
    return torch.view_as_real(torch.view_as_complex(x.unflatten(-1, (half, 2))) * turns).flatten(-2)
