"""The program of a packed model, run the plainest way: numpy, one step, one operation after the other.

It is the ground truth for the tests of every faster form, and the fallback in builds without a compiler. Products,
scans and registers are fp32; sums of norms and the softmax are in double, so that no order of summing is preferred.

Shapes: N units, V symbols, K inputs. There is one stream, so registers and states are vectors.
"""

from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from cpu1.format.operations import OPERATIONS
from cpu1.format.packed import Packed
from cpu1.format.program import Op, Slice
from cpu1.lookups.patches import WORDS, is_whole, patch_rows
from cpu1.lookups.readers import Reader, plain_recall_reader, plain_table_reader
from cpu1.lookups.recall import RecallShape

Vector = NDArray[np.float32]

EPS = 1e-6
LEVELS = np.float32(127)
SILENT = np.float32(2.0**-100)
ROPE_BASE = 10_000.0
ABSENT = -1  # no unit


class Entry(NamedTuple):
    """The key and value of one step in a cache."""

    position: int
    key: Vector  # (heads, head size), normed and rotated
    value: Vector  # (heads, head size)


@dataclass
class State:
    """The state of a stream. A call returns a new state and does not change the one it was given."""

    s: Vector  # (d,): predicts the next step
    position: int  # steps so far, the first one, which read no units, counted
    recent: tuple[int, ...]  # the last units, at most as many as the head looks back
    vectors: dict[str, Vector] = field(default_factory=dict)  # states of scans
    caches: dict[str, tuple[Entry, ...]] = field(default_factory=dict)  # states of attention
    readers: tuple[Reader, ...] = ()  # of the lookups
    kept: bool = True  # whether no gate deleted the last step


class Reference:
    """A packed model, ready to run. Safe to share: all that changes is in `State`."""

    def __init__(self, packed: Packed) -> None:
        self.program = packed.program
        self.packed = packed
        # fp32 holds the sums of integer products exactly: they stay below 127 * 65536 < 2^24
        names = packed.program.ternary_tensors()
        self.matrices = {name: packed.ternary(name).w.astype(np.float32) for name in names}

    def start(self) -> State:
        """The state before the first unit of a document."""
        readers = tuple(self._reader(op) for op in self.program.lookups)
        return self._step(None, State(np.zeros(self.program.width, np.float32), 0, (), readers=readers))

    def advance(self, units: ArrayLike, state: State, own: int = 0) -> State:
        """Reads whole steps: units (N,), which end one. Raises ValueError for other units.

        The model drew the last `own` of them itself: lookups remember nothing of those.
        """
        units = self._checked(units)
        begun: list[int] = []
        for place, unit in enumerate(units):
            begun.append(unit)
            if self.is_whole(begun):
                drawn = max(0, min(len(begun), own - (len(units) - 1 - place)))
                state, begun = self._step(begun, state, drawn), []
        if begun:
            raise ValueError(f"{len(units)} units are not whole steps; the last {len(begun)} begin another")
        return state

    def is_whole(self, begun: list[int]) -> bool:
        """Whether a step ends with the last of its units so far."""
        return is_whole(begun) if self.program.words else len(begun) == self.program.patch

    def next_logits(self, begun: ArrayLike, state: State, own: int = 0) -> Vector:
        """Logits (V,) of the unit after `state` and the `begun` units (0 to patch - 1) of its step.

        `own` is as in `advance`. Raises ValueError for more of them, and for units beyond the vocabulary.
        """
        units = self._checked(begun)
        if len(units) >= self.program.patch:
            raise ValueError(f"{len(units)} units begun of a step of {self.program.patch}")
        step = Step(self, state)
        step.registers["s"] = state.s
        for op, reader in zip(self.program.lookups, _read(state.readers, units, own), strict=True):
            step.look_up(op, reader.look())
        return step.head(self.program.head[-1], units)

    def score(self, units: ArrayLike) -> NDArray[np.float64]:
        """Bits (N,) that each unit of a document costs, -log2 p given all before it."""
        units = self._checked(units)
        bits, state = np.empty(len(units)), self.start()
        begun: list[int] = []
        for position, unit in enumerate(units):
            logits = self.next_logits(begun, state).astype(np.float64)
            peak = logits.max()
            bits[position] = (np.log(np.exp(logits - peak).sum()) + peak - logits[unit]) / np.log(2)
            begun.append(unit)
            if self.is_whole(begun):
                state, begun = self.advance(begun, state), []
        return bits

    def _checked(self, units: ArrayLike) -> list[int]:
        numbers = np.asarray(units, np.int64)
        if numbers.ndim != 1 or (numbers.size and not 0 <= numbers.min() <= numbers.max() < self.program.vocabulary):
            raise ValueError(f"units must be a row of numbers from 0 to {self.program.vocabulary - 1}")
        return numbers.tolist()

    def memory_code(self, begun: list[int], state: State, own: int) -> NDArray[np.uint8]:
        """What the memory of the document says of the unit after the `begun` ones; nothing without a memory."""
        ops = [op.name for op in self.program.lookups]
        if "recall" not in ops:
            return np.zeros((0, 3), np.uint8)
        return _read(state.readers, begun, own)[ops.index("recall")].look()

    def _step(self, units: list[int] | None, state: State, own: int = 0) -> State:
        """One step of the trunk; `units` None is the first step of a document."""
        step = Step(self, state)
        step.embed(self.program.embed[0], units)
        index = 0
        while index < len(self.program.trunk):
            index = step.run(self.program.trunk[index]) or index + 1
        read = (*state.recent, *(units or ()))
        recent = read[max(0, len(read) - self.program.look_back) :]
        readers = tuple(_read(state.readers, units or [], own))
        kept = not step.deleted
        return State(step.registers["s"], state.position + 1, recent, step.vectors, step.caches, readers, kept)

    @staticmethod
    def _reader(op: Op) -> Reader:
        """The reader of a lookup, at the beginning of a document."""
        if op.name == "table_rows":
            return plain_table_reader(op["contexts"], op["table_size"])
        return plain_recall_reader(RecallShape(op["contexts"], op["memory_size"], op["history"], op["match"]))


def _read(readers: tuple[Reader, ...], units: list[int], own: int) -> list[Reader]:
    """The readers after some units, of which the model drew the last `own`. Those that are given stay as they are."""
    if not readers:
        return []
    text, given = np.array(units, np.int64).astype(np.uint8), len(units) - own  # a separator is read as NUL
    after = [reader.copy() for reader in readers]
    for reader in after:
        reader.read(text[:given])
        reader.read(text[given:], own=True)
    return after


class Step:
    """The registers of one step, and a method for each operation of docs/operations.md, which defines them."""

    def __init__(self, model: Reference, state: State) -> None:
        self.model, self.position, self.recent = model, state.position, state.recent
        self.registers = {name: np.zeros(size, np.float32) for name, size in model.program.registers.items()}
        self.vectors, self.caches = dict(state.vectors), dict(state.caches)
        self.deleted = False

    def embed(self, op: Op, units: list[int] | None) -> None:
        """Runs the embedding of a step's units; None before the first step of a document."""
        EMBED[op.name](self, op, units)

    def run(self, op: Op) -> int | None:
        """Runs an operation of the trunk; returns the index of the next one if it is not the following one."""
        return TRUNK[op.name](self, op)

    def look_up(self, op: Op, found: NDArray[Any]) -> None:
        """Runs an operation of the head before its last, on what its reader found for the next unit."""
        HEAD[op.name](self, op, found)

    def head(self, op: Op, begun: list[int]) -> Vector:
        """The logits (V,) of the unit after the `begun` units of the step, by the head's last operation."""
        return HEAD[op.name](self, op, begun)

    # ------------------------------------------------------------------------------------- embed

    def embed_bytes(self, op: Op, units: list[int] | None) -> None:
        """out = the patch's byte vectors side by side, mixed by the taps if there are any."""
        if units is None:
            self._set(op["out"], self._tensor(op, "start"))
            return
        vectors = self._tensor(op, "table")[units]
        mixed = vectors.copy()
        if op.get("bias"):
            mixed += self._tensor(op, "bias")
        if op.get("taps"):
            for back, tap in enumerate(self._tensor(op, "taps")):
                mixed[back:] += vectors[: len(vectors) - back] * tap
        self._set(op["out"], mixed.ravel())

    def embed_words(self, op: Op, units: list[int] | None) -> None:
        """out = the byte vectors side by side, zeros behind them, and weight times the row of the patch's hash."""
        if units is None:
            self._set(op["out"], self._tensor(op, "start"))
            return
        patch = np.full(WORDS, ABSENT, np.int64)
        patch[: len(units)] = units
        row = patch_rows(patch, ABSENT, op["table_size"])
        packed = self.model.packed.rows(op["rows"])
        values = np.ldexp(packed.q[row].astype(np.float32), int(packed.power[row]))
        table = self._tensor(op, "table")
        vectors = np.zeros((WORDS, table.shape[1]), np.float32)
        vectors[: len(units)] = table[units]
        self._set(op["out"], vectors.ravel() + self._tensor(op, "weight") @ values)

    def embed_token(self, op: Op, units: list[int] | None) -> None:
        """out = the token's vector; that of the separator at the start."""
        self._set(op["out"], self._tensor(op, "table")[units[0] if units else 0])

    # ------------------------------------------------------------------------------------- trunk

    def rms_norm(self, op: Op) -> None:
        """out = norm(in), times the gain if there is one."""
        normed = norm(self._get(op["in"]))
        self._set(op["out"], normed * self._tensor(op, "gain") if op.get("gain") else normed)

    def ternary_linear(self, op: Op) -> None:
        """out = (w q) scale γ, with in quantised to q and its scale."""
        q, scale = quantise(self._get(op["in"]), self._tensor(op, "gain") if op.get("gain") else None)
        sums = self.model.matrices[op["weight"]] @ q.astype(np.float32)
        self._set(op["out"], sums * scale * np.repeat(self.model.packed.ternary(op["weight"]).scale, op["parts"]))

    def dense_linear(self, op: Op) -> None:
        """out = activation(weight in + bias), or out + that."""
        y = self._tensor(op, "weight") @ self._get(op["in"])
        if op.get("bias"):
            y = y + self._tensor(op, "bias")
        y = {"none": lambda v: v, "silu": silu, "relu2": relu2}[op["activation"]](y)
        self._set(op["out"], self._get(op["out"]) + y if op["accumulate"] else y)

    def gate_scan(self, op: Op) -> None:
        """out = state = F state + (1 - F) silu(c), with F = sigmoid(f) and in = [f, c]."""
        f, c = np.split(self._get(op["in"]), 2)
        gate = sigmoid(f)
        self._set(op["out"], self._move(op, gate, silu(c)))

    def silu_mul(self, op: Op) -> None:
        """out = silu(a) b."""
        self._set(op["out"], silu(self._get(op["a"])) * self._get(op["b"]))

    def attend(self, op: Op) -> None:
        """out = attention of this step's query over the cache and this step, with in = [q, k, v]."""
        q, k, v = self._get(op["in"]).reshape(3, op["heads"], op["head_size"])
        query, key = (rotate(np.stack([norm(head) for head in heads]), self.position) for heads in (q, k))
        cache = (*self.caches.get(op["state"], ()), Entry(self.position, key, v.copy()))
        if op["segment"]:
            oldest = self.position // op["segment"] - 1
            cache = tuple(entry for entry in cache if entry.position // op["segment"] >= oldest)
        self.caches[op["state"]] = cache
        keys, values = np.stack([entry.key for entry in cache]), np.stack([entry.value for entry in cache])
        scores = np.einsum("hi,shi->hs", query, keys, dtype=np.float64) * op["head_size"] ** -0.5
        weights = np.exp(scores - scores.max(1, keepdims=True))
        weights /= weights.sum(1, keepdims=True)
        self._set(op["out"], np.einsum("hs,shi->hi", weights, values).astype(np.float32).ravel())

    def leaky_scan(self, op: Op) -> None:
        """out = state = decay state + (1 - decay) in."""
        self._set(op["out"], self._move(op, self._tensor(op, "decay"), self._get(op["in"])))

    def delete_gate(self, op: Op) -> int | None:
        """Returns the operation to skip to where the gate deletes the step, else None."""
        inner = silu(self._tensor(op, "up") @ norm(self._get(op["in"])) + self._tensor(op, "up_bias"))
        score = self._tensor(op, "down")[0] @ inner + self._tensor(op, "down_bias")[0]
        if score >= 0:
            return None
        self.deleted = True
        return op["skip_to"]

    def add(self, op: Op) -> None:
        """out = out + in."""
        self._set(op["out"], self._get(op["out"]) + self._get(op["in"]))

    # -------------------------------------------------------------------------------------- head

    def table_rows(self, op: Op, rows: NDArray[np.int32]) -> None:
        """out = weight [the rows side by side], or out + that."""
        packed = self.model.packed.rows(op["rows"])
        values = np.ldexp(packed.q[rows].astype(np.float32), packed.power[rows, None].astype(np.int32))
        self._add(op, self._tensor(op, "weight") @ values.ravel())

    def recall(self, op: Op, code: NDArray[np.uint8]) -> None:
        """out = the sum over contexts of first(a) g_l + second(b) h_l + c_l, or out + that; see `ops.recall`."""
        count, width = len(code), op["out"].size
        shape, found = (count, width, -1), np.zeros(width, np.float32)
        first, second = (self._tensor(op, name).reshape(shape) for name in ("first", "second"))
        table = self._tensor(op, "table")
        for k, (one, two, level) in enumerate(code.tolist()):
            gain, other = (self._tensor(op, name)[k, level] for name in ("first_gains", "second_gains"))
            said = (first[k] @ table[one]) * gain + (second[k] @ table[two]) * other
            found = found + (said if level else 0) + self._tensor(op, "offsets")[k, level]
        self._add(op, found)

    def local_decode(self, op: Op, begun: list[int]) -> Vector:
        """Logits (V,) of the LocalByteDecoder for the byte after `begun`."""
        slots = self._tensor(op, "slots")
        width, slot = len(slots) // self.model.program.patch, len(begun)
        x = slots[slot * width : (slot + 1) * width] @ self._get(op["in"])
        for vectors, byte in zip(self._tensor(op, "back"), reversed((*self.recent, *begun)), strict=False):
            x = x + vectors[byte]
        if op.get("added"):
            x = x + self._get(op["added"])
        inner = relu2(self._tensor(op, "up") @ norm(x) + self._tensor(op, "up_bias"))
        x = x + self._tensor(op, "down") @ inner + self._tensor(op, "down_bias")
        return self._tensor(op, "output") @ norm(x) + self._tensor(op, "output_bias")

    def patch_heads(self, op: Op, begun: list[int]) -> Vector:
        """Logits (V,) of independent heads for the unit after `begun`."""
        symbols, slot = self.model.program.vocabulary, len(begun)
        return self._tensor(op, "output")[slot * symbols : (slot + 1) * symbols] @ self._get(op["in"])

    # ------------------------------------------------------------------------------------- access

    def _get(self, part: Slice) -> Vector:
        return self.registers[part.register][part.first : part.first + part.size]

    def _set(self, part: Slice, value: Vector) -> None:
        self._get(part)[:] = value

    def _add(self, op: Op, value: Vector) -> None:
        """Writes the operation's out, or adds to it where it accumulates."""
        self._set(op["out"], self._get(op["out"]) + value if op["accumulate"] else value)

    def _tensor(self, op: Op, name: str) -> Vector:
        return self.model.packed.values(op[name])

    def _move(self, op: Op, keep: Vector, fresh: Vector) -> Vector:
        """state = keep * state + (1 - keep) * fresh."""
        before = self.vectors.get(op["state"], np.zeros_like(fresh))
        self.vectors[op["state"]] = keep * before + (1 - keep) * fresh
        return self.vectors[op["state"]]


EMBED, TRUNK, HEAD = (
    {name: getattr(Step, name) for name, operation in OPERATIONS.items() if operation.section == section}
    for section in ("embed", "trunk", "head")
)


# ------------------------------------------------------------------------------------------- numbers


def norm(x: Vector) -> Vector:
    """x / sqrt(mean(x²) + eps)."""
    return x * _inverse_root_mean(x)


def _inverse_root_mean(x: Vector) -> np.float32:
    return np.float32(1 / np.sqrt(np.square(x, dtype=np.float64).mean() + EPS))


def quantise(x: Vector, gain: Vector | None) -> tuple[NDArray[np.int8], np.float32]:
    """q int8 (K,) and one scale, with norm(x) gain ~ q scale, as `cpu1.ops.quantise` without torch.

    Each operation is in fp32, so that q is the same on every machine.
    """
    scaled = x if gain is None else x * gain
    peak = np.abs(scaled).max()
    if peak < SILENT:
        return np.zeros(len(x), np.int8), np.float32(1)
    q = np.rint(scaled * (LEVELS / peak)).clip(-LEVELS, LEVELS)
    return q.astype(np.int8), peak / LEVELS * _inverse_root_mean(x)


def sigmoid(x: Vector) -> Vector:
    """1 / (1 + exp(-x)), computed in double."""
    with np.errstate(over="ignore"):
        return (1 / (1 + np.exp(-x.astype(np.float64)))).astype(np.float32)


def silu(x: Vector) -> Vector:
    """x sigmoid(x)."""
    return x * sigmoid(x)


def relu2(x: Vector) -> Vector:
    """max(x, 0)²."""
    return np.square(np.maximum(x, 0))


def rotate(x: Vector, position: int) -> Vector:
    """Rotary positions (RoFormer, arXiv 2104.09864) of x (heads, head size): pairs of neighbours are rotated."""
    half = x.shape[1] // 2
    angles = position * ROPE_BASE ** (-np.arange(half) / half)
    rotated = (x[:, 0::2] + 1j * x[:, 1::2]) * np.exp(1j * angles)
    return np.stack((rotated.real, rotated.imag), axis=2).reshape(x.shape).astype(np.float32)
