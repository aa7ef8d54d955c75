"""What the kernels share: activations, the norm and the quantiser of a row that one program holds whole.

Of a row of `width` numbers `at` are the places and `inside` those below the width; the others are zero.
"""
# mypy: allow-untyped-defs, no-check-untyped-defs

import triton
import triton.language as tl

from cpu1.ops import reference

LEVELS = tl.constexpr(float(reference.LEVELS))
SILENT = tl.constexpr(reference.SILENT)
TO_INTEGER = tl.constexpr(1.5 * 2**23)  # added and taken away, it leaves the nearest integer, ties to even


@triton.jit
def silu_slope(x, opened):
    """The derivative of silu, `opened` = sigmoid(x)."""
    return opened * (1.0 + x * (1.0 - opened))


@triton.jit
def mix(share, a, b):
    """share a + (1 - share) b: exactly a or b at the ends."""
    return share * a + (1.0 - share) * b


@triton.jit
def root_mean(x, width, eps):
    """r = 1 / sqrt(mean(x²) + eps)."""
    return tl.rsqrt(tl.sum(x * x, 0) / width + eps)


@triton.jit
def norm_gradient(dnormed, normed, r, width):
    """That of x from that of its norm x r."""
    return r * (dnormed - normed * (tl.sum(dnormed * normed, 0) / width))


@triton.jit
def load_gain(gain, at, inside):
    """Ones if there is none."""
    if gain is None:
        return tl.where(inside, 1.0, 0.0)
    else:
        return tl.load(gain + at, mask=inside, other=0.0)


@triton.jit
def load_start(start, at, inside):
    """A first state; zeros if there is none."""
    if start is None:
        return tl.where(inside, 0.0, 0.0)
    else:
        return tl.load(start + at, mask=inside, other=0.0)


@triton.jit
def store_quantised(x, gain, q, s, r, row, at, inside, width, eps):
    """reference.quantise of one row: q, its scale s, and r for the backward pass."""
    scaled = x * load_gain(gain, at, inside)
    # The maximum passes over a NaN; a product with zero is NaN for all that is not finite.
    peak = tl.max(tl.abs(scaled), 0) + tl.sum(scaled * 0.0, 0)
    silent = peak < SILENT
    divisor = tl.where(silent, 1.0, peak)
    per_level = tl.where(silent, 0.0, tl.div_rn(LEVELS, divisor))  # `/` is not rounded correctly on a GPU
    levels = (scaled * per_level + TO_INTEGER) - TO_INTEGER
    levels = tl.minimum(tl.maximum(levels, -LEVELS), LEVELS)
    tl.store(q + row * width + at, levels.to(tl.int8), mask=inside)
    inverse = root_mean(x, width, eps)
    tl.store(r + row, inverse)
    tl.store(s + row, tl.where(silent, 1.0, tl.div_rn(peak, LEVELS) * inverse))
