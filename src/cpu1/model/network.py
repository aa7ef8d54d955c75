"""A recipe as a module: bytes or tokens in, logits out, whole windows or from a saved state.

    units -> embedding -> [mixer, FFN, memory] x L, a gate between -> norm -> s -> head -> logits

The trunk reads step t - 1 to predict step t; a learned first vector stands before step 0. So every unit
is predicted from all units before it and from nothing else.
There is one way through the blocks: generation is the same code with a state carried over.
"""

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

import cpu1.model.ingredients  # noqa: F401 (a model may be built of any of them)
from cpu1 import ops
from cpu1.errors import UserError
from cpu1.format.program import Slice
from cpu1.model.ingredients.embedding import ABSENT
from cpu1.model.ingredients.pfnet import PFNetModule, starting_theta
from cpu1.model.recipe import Recipe

if TYPE_CHECKING:
    from cpu1.model.builder import Builder


@dataclass
class BlockState:
    """What one block carries over; None at the cold start."""

    mixer: Any = None
    memory: Tensor | None = None  # (B, PFNet width)


@dataclass
class State:
    """Where B streams stand between two calls."""

    s: Tensor  # (B, 1, D): predicts the next step
    recent: Tensor  # (B, look_back of the head): the last bytes, ABSENT before the first
    blocks: list[BlockState]
    kept: Tensor | None = None  # (B, T): the gate's k for the steps of the last call


@dataclass
class Output:
    """What training and scoring need of one window."""

    logits: Tensor  # (B, N, V): position i predicts unit i
    s: Tensor  # (B, T, D): the trunk's vector that predicts step t
    keep: Tensor | None = field(default=None)  # (B, T): the gate's k


class Block(nn.Module):
    """Pre-norm residual block; each branch normalises its own input."""

    mixer: Any
    ffn: Any
    memory: Any

    def __init__(self, recipe: Recipe) -> None:
        super().__init__()
        self.mixer = recipe.mixer.build(recipe)
        self.ffn = recipe.ffn.build(recipe)
        self.memory = recipe.memory.build(recipe.width) if recipe.memory else None

    def forward(self, x: Tensor, state: BlockState, keep: Tensor | None) -> tuple[Tensor, BlockState]:
        """x (B, T, D); `keep` (B, T) scales the branches."""
        memory = state.memory
        if self.memory is not None:
            remembered, memory = self.memory(x, state.memory, keep)
            x = ops.branch(x, remembered, keep)
        mixed, mixer = self.mixer(x, state.mixer, keep)
        x = ops.branch(x, mixed, keep)
        x = ops.branch(x, self.ffn(x), keep)
        return x, BlockState(mixer, memory)

    def lower(self, to: "Builder", x: Slice) -> None:
        """Each branch in turn, added to the residual stream."""
        for branch in (self.memory, self.mixer, self.ffn):
            if branch is not None:
                to.emit("add", branch.lower(to, x), x)


class Model(nn.Module):
    """The model of a recipe. Parameters are empty until `init_weights` or a checkpoint fills them."""

    blocks: Any
    embedding: Any
    gate: Any
    head: Any
    distill: Any

    def __init__(self, recipe: Recipe) -> None:
        super().__init__()
        self.recipe = recipe
        self.patch = recipe.embedding.patch
        self.embedding = recipe.embedding.build(recipe.width)
        self.blocks = nn.ModuleList(Block(recipe) for _ in range(recipe.layers))
        self.gate = recipe.gate.build(recipe.width) if recipe.gate else None
        self.gate_position = recipe.gate.position(recipe.layers) if recipe.gate else recipe.layers
        self.head = recipe.head.build(recipe.width)
        self.distill = recipe.distill.build(recipe.width) if recipe.distill else None

    def forward(self, units: Tensor, hard: bool = False) -> Output:
        """Predicts every unit of windows (B, N) that start cold; N is a multiple of the patch."""
        batch, count = units.shape
        if count == 0 or count % self.patch:
            raise UserError(f"a window of {count} units is not a positive multiple of the patch of {self.patch}")
        inputs = torch.cat((self.embedding.first(batch), self.embedding(units)[:, :-1]), dim=1)
        s, _, keep = self._trunk(inputs, self._cold(), hard)
        recent = units.new_full((batch, self.head.look_back), ABSENT)
        return Output(self._logits(s, units, recent), s, keep)

    def start(self, batch: int = 1, hard: bool = True) -> State:
        """The state before the first unit of `batch` documents."""
        s, blocks, keep = self._trunk(self.embedding.first(batch), self._cold(), hard)
        recent = torch.full((batch, self.head.look_back), ABSENT, device=s.device)
        return State(s, recent, blocks, keep)

    def extend(self, units: Tensor, state: State, hard: bool = True) -> tuple[Tensor, State]:
        """Reads whole steps (B, N) after `state`: their logits (B, N, V), and the state behind them."""
        after, blocks, keep = self._trunk(self.embedding(units), state.blocks, hard)
        s = torch.cat((state.s, after[:, :-1]), dim=1)
        recent = torch.cat((state.recent, units), dim=1)[:, units.shape[1] :]
        return self._logits(s, units, state.recent), State(after[:, -1:], recent, blocks, keep)

    def next_logits(self, begun: Tensor, state: State) -> Tensor:
        """Logits (B, V) of the unit that follows `state` and the `begun` units (B, 0..patch-1) of its step."""
        place = begun.shape[1]
        units = nn.functional.pad(begun, (0, self.patch - place))
        return self._logits(state.s, units, state.recent)[:, place]

    def _logits(self, s: Tensor, units: Tensor, recent: Tensor) -> Tensor:
        return self.head(s, units, recent, self.embedding.table()).flatten(1, 2)

    def _cold(self) -> list[BlockState]:
        return [BlockState() for _ in self.blocks]

    def _trunk(self, x: Tensor, states: list[BlockState], hard: bool) -> tuple[Tensor, list[BlockState], Tensor | None]:
        """Vectors (B, T, D) through the blocks: normed s, the blocks' states, the gate's k."""
        keep, after = None, []
        for place, (block, state) in enumerate(zip(self.blocks, states, strict=True)):
            if place == self.gate_position and self.gate is not None:
                keep = self.gate(x, hard)
            x, state = block(x, state, keep)
            after.append(state)
        return ops.rms_norm(x), after, keep

    def lower(self, to: "Builder") -> None:
        """The program of what is deployed: hard decisions, nothing of distillation."""
        x, s = to.register("x", self.recipe.width), to.register("s", self.recipe.width)
        self.embedding.lower(to, x)
        for place, block in enumerate(self.blocks):
            if place == self.gate_position and self.gate is not None:
                self.gate.lower(to, x)
            block.lower(to, x)
        to.land_skips()
        to.emit("rms_norm", x, s)
        self.head.lower(to, s, self.embedding.table())


@torch.no_grad()
def init_weights(model: Model, seed: int) -> None:
    """Fills every tensor of `model`, a pure function of the recipe and the seed.

    | tensor | start |
    |---|---|
    | byte and token tables, first patch | N(0, 1) |
    | matrices of mixers, FFNs, memory, gate, head | N(0, 1 / inputs) |
    | W_o and W_down (outputs into the residual stream) | N(0, 1 / inputs) / sqrt(2 L) |
    | FPResidual U; V; a | N(0, 1 / inputs); 0; 0.1 |
    | PFNet W_out; θ | 0; half-lives spaced from 1 to 256 steps |
    | gains | 1 |
    | biases; the gate's last bias | 0; 2, so that most patches are kept at first |
    | patch mix taps | 0 |
    """
    generator = torch.Generator().manual_seed(seed)
    depth_scale = (2 * len(model.blocks)) ** -0.5
    for name, tensor in model.named_parameters():
        kind = name.rsplit(".", 1)[-1]
        if kind == "gain":
            tensor.fill_(1.0)
        elif kind == "theta":
            continue
        elif "residual.up" in name or name.endswith("memory.output") or kind in ("taps", "bias"):
            tensor.zero_()
        elif kind.endswith("bias"):
            tensor.fill_(2.0 if name == "gate.down_bias" else 0.0)
        elif name.endswith("residual.scale"):
            tensor.fill_(0.1)
        elif name.startswith("embedding."):
            tensor.normal_(generator=generator)
        else:
            tensor.normal_(std=tensor.shape[-1] ** -0.5, generator=generator)
            if name.startswith("blocks.") and name.endswith("output.weight"):
                tensor.mul_(depth_scale)
    for module in model.modules():
        if isinstance(module, PFNetModule):
            module.theta.copy_(starting_theta(module.theta.numel()))


def build(recipe: Recipe, seed: int = 0) -> Model:
    """A freshly initialised model, in training mode, on the CPU."""
    model = Model(recipe)
    init_weights(model, seed)
    return model


def parameter_count(recipe: Recipe) -> int:
    """The number of trained scalars, counted on the model itself (built without memory)."""
    with torch.device("meta"):
        return sum(tensor.numel() for tensor in Model(recipe).parameters())
