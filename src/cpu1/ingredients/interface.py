"""What each kind of ingredient offers: the seams between a recipe and the model.

Shapes: B streams, T steps of the trunk (patches or tokens), D width, N = T * patch units, V symbols.
`keep` (B, T) is the DeleteGate's k for the blocks behind it, None before it.
"""

from typing import TYPE_CHECKING, Any, Protocol

from torch import nn

if TYPE_CHECKING:
    from cpu1.recipes import Recipe


class Embedding(Protocol):
    """Units to vectors. Module: `first(batch) -> (B, 1, D)`, `forward(units (B, N)) -> (B, T, D)`, `table()`."""

    @property
    def level(self) -> str: ...
    @property
    def patch(self) -> int: ...
    @property
    def vocabulary(self) -> int: ...
    def build(self, width: int) -> nn.Module: ...


class Linear(Protocol):
    """The matrices of mixers and FFNs. `input` normalises what it reads; `parts` are stacked matrices."""

    def input(self, width: int, parts: tuple[int, ...]) -> nn.Module: ...
    def output(self, inner: int, width: int) -> nn.Module: ...


class Residual(Protocol):
    """A path beside a mixer's input projection. Module: `forward(x (B, T, D), y (B, T, sum(parts)))`."""

    def build(self, width: int, parts: tuple[int, ...]) -> nn.Module: ...


class Mixer(Protocol):
    """Mixes over time. Module: `forward(x, state, keep) -> (y, state)`; state None is the cold start."""

    def build(self, recipe: "Recipe") -> nn.Module: ...


class FFN(Protocol):
    """Mixes over channels. Module: `forward(x) -> y`."""

    def build(self, recipe: "Recipe") -> nn.Module: ...


class Head(Protocol):
    """Vectors to logits. Module: `forward(s (B, T, D), units (B, N), recent (B, look_back), table)
    -> (B, T, patch, V)`, where position i may use units < i only."""

    def build(self, width: int) -> nn.Module: ...


class Gate(Protocol):
    """Decides which steps the later blocks see. Module: see `delete_gate.DeleteGateModule`."""

    def build(self, width: int) -> nn.Module: ...
    def position(self, layers: int) -> int: ...
    @property
    def target(self) -> float: ...


class Memory(Protocol):
    """A branch with state beside each block. Module: `forward(x, state, keep) -> (y, state)`."""

    def build(self, width: int) -> nn.Module: ...


class Distill(Protocol):
    """Learns from a teacher. Module: `forward(student, teacher, targets, weight) -> loss`."""

    def build(self, width: int) -> nn.Module: ...


State = Any  # of one mixer or memory: a tensor or a small dataclass, None at the cold start
