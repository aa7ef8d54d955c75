"""How weights stand in a packed file: ternary ones at two bits, full-precision ones as int8, bf16 or fp32.

Each form is exact both ways: what is read back and stored again gives the same bytes. Torch-free.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from cpu1.format.container import Raw

BLOCK = 16  # rows, and inputs, of a group of ternary weights
PER_BYTE = 4
LEVELS = 127
SILENT = 2.0**-100  # a row with no larger value is stored as zeros
SCALE_BITS = 17  # significant bits of a row's scale: 127 times it is exact in fp32


@dataclass(frozen=True)
class Ternary:
    """Stacked matrices w γ, one γ a part."""

    w: NDArray[np.int8]  # (N, K) of -1, 0, 1
    scale: NDArray[np.float32]  # (parts,)
    parts: tuple[int, ...]  # rows of each

    def unpacked(self) -> NDArray[np.float32]:
        """fp32 weights (N, K) that ternarise to the very same w and γ (`cpu1.ops.ternarise`: γ = mean |W|).

        Nonzeros get the magnitude whose mean over all weights is γ. It need not be an fp32 number: as many of them
        as it takes get the next one up. Raises ValueError for a γ that no weights have.
        """
        out = np.zeros(self.w.shape, np.float32)
        first = 0
        for part, (rows, scale) in enumerate(zip(self.parts, self.scale.tolist(), strict=True)):
            piece = self.w[first : first + rows]
            out[first : first + rows] = piece * _magnitudes(piece != 0, scale, part)
            first += rows
        return out


def _magnitudes(nonzero: NDArray[np.bool_], scale: float, part: int) -> NDArray[np.float32]:
    """Magnitudes of the nonzeros whose mean over all is `scale` to within fp32's rounding."""
    count, total = int(nonzero.sum()), scale * nonzero.size
    if count == 0:
        if scale != 1:
            raise ValueError(f"part {part}: all weights are zero, but the scale is {scale}, not 1")
        return np.zeros(nonzero.shape, np.float32)
    low = np.float32(total / count)
    low = low if float(low) * count <= total else np.nextafter(low, np.float32(0))
    high = np.nextafter(low, np.float32(np.inf))
    more = round((total - float(low) * count) / (float(high) - float(low)))
    out = np.full(nonzero.shape, low)
    out.flat[np.flatnonzero(nonzero)[:more]] = high
    if not np.isfinite(high) or np.float32((out * nonzero).sum(dtype=np.float64) / out.size) != np.float32(scale):
        raise ValueError(f"part {part}: no fp32 weights have the scale {scale}")
    return out


# -------------------------------------------------------------------------------------- ternary, 2 bits


def groups(shape: tuple[int, int]) -> tuple[int, int, int]:
    """The shape of a ternary matrix (N, K) in a file: blocks of 16 rows, of 16 inputs, 64 bytes each."""
    return -(-shape[0] // BLOCK), -(-shape[1] // BLOCK), BLOCK * BLOCK // PER_BYTE


def to_trits(w: NDArray[np.int8]) -> NDArray[np.uint8]:
    """w (N, K) of -1, 0, 1 -> (R, B, 64): two bits a weight, w + 1, in the layout of docs/file-format.md."""
    blocks, columns, _ = shape = groups((w.shape[0], w.shape[1]))
    padded = np.ones((blocks * BLOCK, columns * BLOCK), np.uint8)
    padded[: w.shape[0], : w.shape[1]] = w + 1
    # row block, row, input block, bit pair, byte
    pairs = padded.reshape(blocks, BLOCK, columns, PER_BYTE, PER_BYTE)
    shifts = (2 * np.arange(PER_BYTE, dtype=np.uint8))[:, None]
    packed = np.bitwise_or.reduce(pairs << shifts, axis=3)
    return np.ascontiguousarray(packed.transpose(0, 2, 1, 3)).reshape(shape)


def from_trits(trits: NDArray[np.uint8], shape: tuple[int, int]) -> NDArray[np.int8]:
    """What `to_trits` was given, of `shape` (N, K).

    Raises ValueError for another size, a value of 3, or weights in the padding.
    """
    if trits.shape != groups(shape):
        raise ValueError(f"shape {list(trits.shape)} does not hold {shape[0]} x {shape[1]} weights")
    if np.any(trits & (trits >> 1) & 0x55):
        raise ValueError("a value of 3 among the ternary weights")
    blocks, columns, _ = trits.shape
    packed = trits.reshape(blocks, columns, BLOCK, PER_BYTE).transpose(0, 2, 1, 3)[:, :, :, None]
    shifts = (2 * np.arange(PER_BYTE, dtype=np.uint8))[:, None]
    w = (packed >> shifts & 3).astype(np.int8).reshape(blocks * BLOCK, columns * BLOCK) - 1
    if w[shape[0] :].any() or w[:, shape[1] :].any():
        raise ValueError("weights that are not zero in the padding")
    return np.ascontiguousarray(w[: shape[0], : shape[1]])


# ------------------------------------------------------------------------------------- packed rows


@dataclass(frozen=True)
class Rows:
    """Rows of whole numbers q of [-levels, levels] times 2^power, levels = 2^(bits - 1) - 1."""

    q: NDArray[np.int8]  # (R, W)
    power: NDArray[np.int8]  # (R,), from LEAST_POWER to MOST_POWER
    bits: int  # 2, 4 or 8

    def unpacked(self) -> NDArray[np.float32]:
        """The values (R, W), exactly."""
        return np.ldexp(self.q.astype(np.float32), self.power[:, None].astype(np.int32))


LEAST_POWER, MOST_POWER = -120, 100  # so that values and their products stay normal numbers


def to_rows(value: NDArray[np.float32], bits: int) -> Rows:
    """Rounds rows (R, W) as `ops.gather_rows` does: the smallest power of two that holds a row's largest value."""
    levels = 2 ** (bits - 1) - 1
    peak = np.abs(value).max(1)
    _, exponent = np.frexp(peak / np.float32(levels + 1))
    power = np.where(peak <= np.ldexp(np.float32(levels), exponent), exponent, exponent + 1)
    power = np.where(peak > SILENT, power, 0)
    if power.size and (power.min() < LEAST_POWER or power.max() > MOST_POWER):
        raise ValueError(f"rows of a table reach 2^{power.max()}; values that large or small cannot be packed")
    q = np.rint(np.ldexp(value, -power[:, None]))
    return Rows(np.where(peak[:, None] > SILENT, q, 0).astype(np.int8), power.astype(np.int8), bits)


def store_rows(rows: Rows) -> NDArray[np.uint8]:
    """A row after the other: its power, then its values q + 2^(bits - 1), the first in the lowest bits of a byte."""
    each = 8 // rows.bits
    raised = (rows.q.astype(np.int16) + 2 ** (rows.bits - 1)).astype(np.uint8).reshape(len(rows.q), -1, each)
    shifts = (rows.bits * np.arange(each)).astype(np.uint8)
    values = np.bitwise_or.reduce(raised << shifts, axis=2)
    return np.concatenate((rows.power.view(np.uint8)[:, None], values), axis=1)


def load_rows(stored: NDArray[np.uint8], bits: int) -> Rows:
    """What `store_rows` gave (R, 1 + W bits / 8). ValueError for a power or a value that it cannot give."""
    if stored.shape[1] < 2:
        raise ValueError("rows without values")
    power = np.ascontiguousarray(stored[:, 0]).view(np.int8)
    shifts = (bits * np.arange(8 // bits)).astype(np.uint8)
    raised = stored[:, 1:, None] >> shifts & (2**bits - 1)
    if power.min(initial=0) < LEAST_POWER or power.max(initial=0) > MOST_POWER:
        raise ValueError(f"a power outside {LEAST_POWER} to {MOST_POWER}")
    if not raised.all():
        raise ValueError(f"a value of -{2 ** (bits - 1)} in a row")
    q = raised.reshape(len(stored), -1).astype(np.int16) - 2 ** (bits - 1)
    return Rows(q.astype(np.int8), power, bits)


# ------------------------------------------------------------------------------------------- dense


def store_dense(value: NDArray[np.float32], width: str) -> tuple[Raw, Raw | None]:
    """A tensor and, for int8, its rows' scales. What has one row (gains, biases, decisions) is always fp32."""
    if value.ndim < 2 or value[..., 0].size == 1 or width == "fp32":
        return raw(value), None
    if width == "bf16":
        return Raw("BF16", value.shape, to_bf16(value).tobytes()), None
    q, scale = to_int8(value)
    return raw(q), raw(scale)


def load_dense(tensor: Raw, scale: NDArray[np.float32] | None) -> NDArray[np.float32]:
    """The fp32 values of F32, BF16, or of I8 with its rows' scales."""
    if tensor.dtype == "F32":
        return np.frombuffer(tensor.data, "<f4").astype(np.float32).reshape(tensor.shape)
    if tensor.dtype == "BF16":
        return from_bf16(np.frombuffer(tensor.data, "<u2")).reshape(tensor.shape)
    if scale is None:
        raise ValueError("int8 without scales")
    return np.frombuffer(tensor.data, np.int8).reshape(tensor.shape) * scale.reshape(*tensor.shape[:-1], 1)


def to_bf16(value: NDArray[np.float32]) -> NDArray[np.uint16]:
    """The upper halves of fp32, rounded to nearest, ties to even."""
    bits = np.ascontiguousarray(value, np.float32).view(np.uint32)
    return ((bits + 0x7FFF + (bits >> 16 & 1)) >> 16).astype("<u2")


def from_bf16(bits: NDArray[np.uint16]) -> NDArray[np.float32]:
    """The fp32 values of bf16 bits, exactly; any shape."""
    return (bits.astype(np.uint32) << 16).view(np.float32)


def to_int8(value: NDArray[np.float32]) -> tuple[NDArray[np.int8], NDArray[np.float32]]:
    """q (..., K) and a scale for each row of K (rows,), value ~ scale q with |q| <= 127.

    The scale has 17 significant bits, so that scale q is exact in fp32 and the largest of a row, 127 scale, gives the
    same scale again: quantising the result changes nothing.
    """
    rows = value.reshape(-1, value.shape[-1])
    peak = np.abs(rows).max(axis=1)
    silent = peak < SILENT
    bits = (np.where(silent, 1, peak / np.float32(LEVELS)).astype(np.float32)).view(np.uint32)
    dropped = 24 - SCALE_BITS
    half = np.uint32((1 << (dropped - 1)) - 1)
    scale = ((bits + half + (bits >> dropped & 1)) >> dropped << dropped).view(np.float32)
    q = np.rint(rows / scale[:, None]).clip(-LEVELS, LEVELS).astype(np.int8)
    q[silent] = 0
    return q.reshape(value.shape), scale


def raw(value: NDArray) -> Raw:
    """float32, int8 and uint8 arrays as they are."""
    value = np.ascontiguousarray(value)
    names = {"float32": "F32", "int8": "I8", "uint8": "U8"}
    return Raw(names[value.dtype.name], value.shape, value.astype(value.dtype.newbyteorder("<")).tobytes())
