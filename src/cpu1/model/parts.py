"""What each kind of ingredient offers: the seams between a recipe and the model.

Shapes: B streams, T steps of the trunk (patches or tokens), D width, N = T * patch units, V symbols.
`keep` (B, T) is the DeleteGate's k for the blocks behind it, None before it.

Modules lower themselves to operations of the runtime (docs/operations.md) with a `cpu1.model.builder.Builder`, `to` below:
they append to its program what `forward` computes for one step. x is the slice of the residual stream.
"""

from typing import TYPE_CHECKING, Any, Protocol

from torch import nn

if TYPE_CHECKING:
    from cpu1.model.recipe import Recipe


class Embedding(Protocol):
    """Units to vectors. Module: `first(batch) -> (B, 1, D)`, `forward(units (B, N)) -> (B, T, D)`, `table()`;
    `lower(to, x)` writes x."""

    @property
    def level(self) -> str: ...
    @property
    def patch(self) -> int: ...
    @property
    def vocabulary(self) -> int: ...
    def build(self, width: int) -> nn.Module: ...


class Linear(Protocol):
    """The matrices of mixers and FFNs. `input` normalises what it reads; `parts` are stacked matrices.

    Module: `forward(x, inner, up)`, the latter two a Residual's; of an output also `of_swiglu(x, input)`
    and `of_mlgru(fcg, keep, h0) -> (y, h)`, which may fuse what comes before; `lower(to, x, out)` writes out.
    """

    def input(self, width: int, parts: tuple[int, ...]) -> nn.Module: ...
    def output(self, inner: int, width: int) -> nn.Module: ...


class Residual(Protocol):
    """A low-rank path beside a mixer's input projection. Module: `forward(x (B, T, D)) -> (inner, up)`, see
    `ops.ternary_linear`; `lower(to, x, y)` adds to y."""

    def build(self, width: int, parts: tuple[int, ...]) -> nn.Module: ...


class Mixer(Protocol):
    """Mixes over time. Module: `forward(x, state, keep) -> (y, state)`; state None is the cold start.
    `lower(to, x) -> y`, with the state under `to.state`."""

    def build(self, recipe: "Recipe") -> nn.Module: ...


class FFN(Protocol):
    """Mixes over channels. Module: `forward(x) -> y`; `lower(to, x) -> y`."""

    def build(self, recipe: "Recipe") -> nn.Module: ...


class Head(Protocol):
    """Vectors to logits. Module: `look_back`, how many units before a call it reads; `forward(s (B, T, D),
    units (B, N), recent (B, look_back), table) -> (B, T, patch, V)`, where position i may use units < i only;
    `lower(to, s, table)`."""

    def build(self, width: int) -> nn.Module: ...


class Gate(Protocol):
    """Decides which steps the later blocks see. Module: see `delete_gate.DeleteGateModule`; `lower(to, x)`."""

    def build(self, width: int) -> nn.Module: ...
    def position(self, layers: int) -> int: ...
    @property
    def target(self) -> float: ...


class Memory(Protocol):
    """A branch with state beside each block. Module: `forward(x, state, keep) -> (y, state)`; `lower(to, x) -> y`."""

    def build(self, width: int) -> nn.Module: ...


class Distill(Protocol):
    """Learns from a teacher; nothing of it is lowered. Module, if it needs one: see `distillation.HiddenProjection`."""

    alpha: float
    temperature: float

    def build(self, width: int) -> nn.Module | None: ...


State = Any  # of one mixer or memory: a tensor or a small dataclass, None at the cold start
