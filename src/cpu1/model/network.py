"""A recipe as a module: bytes or tokens in, logits out, for whole windows or from a saved state.

    units -> embedding -> [memory, mixer, FFN] x L, a gate between two blocks -> norm -> s -> head -> logits

The trunk reads step t - 1 to predict step t, and a learned vector before step 0. So every unit is predicted from all
units before it and from nothing else. Training and generation run the same code; generation carries a state over.

Shapes: B streams, T steps of the trunk (patches or tokens), D width, N = T * patch units, V symbols.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

import cpu1.model.ingredients  # noqa: F401 (a model may be built of any of them)
from cpu1 import ops
from cpu1.errors import UserError
from cpu1.format.program import Slice
from cpu1.lookups.readers import Reader
from cpu1.model.ingredients.decoder import LocalByteDecoder
from cpu1.model.ingredients.embedding import ABSENT, Cut
from cpu1.model.ingredients.lookups import HashedRows, read_lookups
from cpu1.model.ingredients.pfnet import PFNetModule, starting_theta
from cpu1.model.recipe import Lookup, Recipe

if TYPE_CHECKING:
    from cpu1.model.builder import Builder


@dataclass
class BlockState:
    """What one block carries over from call to call; None at the cold start."""

    mixer: Any = None  # of the mixer's own type
    memory: Tensor | None = None  # (B, PFNet width)


@dataclass
class ModelState:
    """What a model carries over from call to call, for B streams."""

    s: Tensor  # (B, 1, D): predicts the next step
    recent: Tensor  # (B, look_back of the head): the last bytes, ABSENT before the first
    blocks: list[BlockState]
    readers: list[list[Reader]]  # of each lookup, for each stream
    kept: Tensor | None = None  # (B, T): the gate's k for the steps of the last call
    begun: Tensor | None = None  # (1, n): units of a step that is not whole, where patches differ in length


@dataclass
class Output:
    """The predictions for whole windows, and the vectors and gate decisions behind them."""

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
        """x (B, T, D) and the state before it -> x (B, T, D) with the branches added, and the state after it.

        `keep` (B, T) scales the branches; None adds them whole.
        """
        memory = state.memory
        if self.memory is not None:
            remembered, memory = self.memory(x, state.memory, keep)
            x = ops.branch(x, remembered, keep)
        mixed, mixer = self.mixer(x, state.mixer, keep)
        x = ops.branch(x, mixed, keep)
        x = ops.branch(x, self.ffn(x), keep)
        return x, BlockState(mixer, memory)

    def lower(self, to: "Builder", x: Slice) -> None:
        """Appends each branch in turn, added to the residual stream `x`."""
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
        self.embedding = recipe.embedding.build(recipe.width)
        self.cuts = hasattr(self.embedding, "cut")  # patches differ in length
        self.patch = 1 if self.cuts else recipe.embedding.patch  # a call reads so many units at a time
        self._check_cuts()
        self.blocks = nn.ModuleList(Block(recipe) for _ in range(recipe.layers))
        self.gate = recipe.gate.build(recipe.width) if recipe.gate else None
        self.gate_position = recipe.gate.position(recipe.layers) if recipe.gate else recipe.layers
        self.head = recipe.head.build(recipe.width, recipe.embedding.vocabulary, recipe.embedding.patch)
        self.tables = self._lookup(recipe.tables)
        self.recall = self._lookup(recipe.recall)
        self.distill = recipe.distill.build(recipe.width) if recipe.distill else None

    def _check_cuts(self) -> None:
        """UserError for ingredients that count on patches of one length where they differ."""
        recipe, name = self.recipe, type(self.recipe.embedding).__name__
        if not self.cuts:
            return
        if not isinstance(recipe.head, LocalByteDecoder):
            raise UserError(
                f"{name} needs a LocalByteDecoder; {type(recipe.head).__name__} writes patches of one length"
            )
        for part in (recipe.gate, recipe.distill):
            if part is not None:
                raise UserError(f"{type(part).__name__} counts patches of one length; {name} has others")

    def _lookup(self, ingredient: Lookup | None) -> Any:
        """The module of a lookup; UserError where the head has nothing to add it to."""
        if ingredient is None:
            return None
        if not isinstance(self.recipe.head, LocalByteDecoder):
            raise UserError(f"{type(ingredient).__name__} adds to a LocalByteDecoder; take that as the head")
        return ingredient.build(self.recipe.head.width, self.embedding.table().shape[1])

    @property
    def lookups(self) -> list[Any]:
        """The modules that look up, in the order in which they add to the decoder."""
        return [module for module in (self.tables, self.recall) if module is not None]

    def forward(self, units: Tensor, hard: bool = False, found: Sequence[Tensor] | None = None) -> Output:
        """Predicts every unit of windows (B, N) that start cold.

        `hard` lets the gate delete steps; otherwise it scales them. `found` is what each of `lookups` found for the
        windows; None: what it finds where a document begins with the window. UserError unless N is a multiple of the
        patch.
        """
        batch, count = units.shape
        if count == 0 or count % self.patch:
            raise UserError(f"a window of {count} units is not a positive multiple of the patch of {self.patch}")
        cut = self.embedding.cut(units) if self.cuts else None
        inputs = torch.cat((self.embedding.first(batch), self._embed(units, cut)[:, :-1]), dim=1)
        s, _, keep = self._trunk(inputs, self._cold(), hard)
        recent = units.new_full((batch, self.head.look_back), ABSENT)
        if found is None:
            found, _ = read_lookups(self.lookups, units, None)
        return Output(self._logits(s, units, recent, found, cut), s, keep)

    def start(self, batch: int = 1, hard: bool = True) -> ModelState:
        """The state before the first unit of `batch` documents. UserError for several if patches differ in length."""
        if self.cuts and batch != 1:
            raise UserError(f"patches that differ in length are read one document at a time, not {batch}")
        s, blocks, keep = self._trunk(self.embedding.first(batch), self._cold(), hard)
        recent = torch.full((batch, self.head.look_back), ABSENT, device=s.device)
        readers = [[module.reader() for _ in range(batch)] for module in self.lookups]
        begun = torch.zeros(1, 0, dtype=torch.int64, device=s.device) if self.cuts else None
        return ModelState(s, recent, blocks, readers, keep, begun)

    def extend(self, units: Tensor, state: ModelState, hard: bool = True, own: int = 0) -> tuple[Tensor, ModelState]:
        """Reads whole steps of units (B, N) after `state`: their logits (B, N, V), and the state after them.

        The model drew the last `own` of them itself: lookups remember nothing of those.
        """
        begun = units if state.begun is None else torch.cat((state.begun, units), dim=1)
        cut = self.embedding.cut(begun) if self.cuts else None
        s, blocks, keep = self._steps(begun, cut, state, hard)
        recent = torch.cat((state.recent, units), dim=1)[:, units.shape[1] :]
        found, readers = read_lookups(self.lookups, units, state.readers, own)
        read = None if cut is None else cut.after(begun.shape[1] - units.shape[1])
        logits = self._logits(s[:, : cut.count if cut else -1], units, state.recent, found, read)
        rest = None if cut is None else begun[:, int((cut.step[0] < cut.whole).sum()) :]
        return logits, ModelState(s[:, -1:], recent, blocks, readers, keep, rest)

    def _steps(
        self, units: Tensor, cut: Cut | None, state: ModelState, hard: bool
    ) -> tuple[Tensor, list[BlockState], Tensor | None]:
        """The whole steps of `units` after a state: all s (B, T + 1, D), the first that of `state`, and the rest."""
        if cut is not None and not cut.whole:
            return state.s, state.blocks, state.kept
        x = self._embed(units, cut)[:, : cut.whole if cut else None]
        after, blocks, keep = self._trunk(x, state.blocks, hard)
        return torch.cat((state.s, after), dim=1), blocks, keep

    def _embed(self, units: Tensor, cut: Cut | None) -> Tensor:
        return self.embedding(units) if cut is None else self.embedding(units, cut)

    def next_logits(self, begun: Tensor, state: ModelState, own: int = 0) -> Tensor:
        """Logits (B, V) of the unit that follows `state` and the `begun` units (B, 0 to patch - 1) of its step.

        `own` is as in `extend`.
        """
        count = begun.shape[1]
        units = nn.functional.pad(begun, (0, self.patch - count))
        found, _ = read_lookups(self.lookups, units, state.readers, own + self.patch - count)
        cut = None
        if state.begun is not None:
            step = torch.zeros_like(units)
            cut = Cut(step, step + state.begun.shape[1], count=1, whole=0)
        return self._logits(state.s, units, state.recent, found, cut)[:, count]

    def _logits(
        self, s: Tensor, units: Tensor, recent: Tensor, found: Sequence[Tensor], cut: Cut | None = None
    ) -> Tensor:
        table = self.embedding.table()

        def look_up(x: Tensor) -> Tensor:
            for module, said in zip(self.lookups, found, strict=True):
                x = module(x, said, table)
            return x

        more = (look_up, cut) if found or cut else ()
        return self.head(s, units, recent, table, *more).flatten(1, 2)

    def _cold(self) -> list[BlockState]:
        return [BlockState() for _ in self.blocks]

    def _trunk(self, x: Tensor, states: list[BlockState], hard: bool) -> tuple[Tensor, list[BlockState], Tensor | None]:
        """Vectors (B, T, D) through the blocks: the normed s (B, T, D), the blocks' states, the gate's k (B, T)."""
        keep, after = None, []
        for index, (block, state) in enumerate(zip(self.blocks, states, strict=True)):
            if index == self.gate_position and self.gate is not None:
                keep = self.gate(x, hard)
            x, state = block(x, state, keep)
            after.append(state)
        return ops.rms_norm(x), after, keep

    def lower(self, to: "Builder") -> None:
        """Appends the program of the deployed model: hard decisions, nothing of distillation."""
        x, s = to.register("x", self.recipe.width), to.register("s", self.recipe.width)
        self.embedding.lower(to, x)
        for index, block in enumerate(self.blocks):
            if index == self.gate_position and self.gate is not None:
                self.gate.lower(to, x)
            block.lower(to, x)
        to.land_skips()
        to.emit("rms_norm", x, s)
        self._lower_head(to, s)

    def _lower_head(self, to: "Builder", s: Slice) -> None:
        """The lookups, if any, fill a register that the decoder adds to what it begins with."""
        table, width = self.embedding.table(), getattr(self.recipe.head, "width", 0)
        added = to.register("found", width) if self.lookups else None
        if added is not None:
            for place, module in enumerate(self.lookups):
                module.lower(to, added, table, accumulate=place > 0)
        self.head.lower(to, s, table, *((added,) if added is not None else ()))


ZERO = ("taps", "bias", "table", "first_gains", "second_gains", "offsets")  # what begins so, by the last part of a name


def is_embedding(name: str) -> bool:
    """Whether a tensor of this name holds vectors that units select, not a matrix between vectors."""
    return name.startswith("embedding.") and not name.endswith(".output")


@torch.no_grad()
def init_weights(model: Model, seed: int) -> None:
    """Fills every tensor of `model` with its value at the start, a pure function of the recipe and the seed.

    | tensor | start |
    |---|---|
    | byte and token tables, first patch | N(0, 1) |
    | matrices of mixers, FFNs, memory, gate, head, lookups | N(0, 1 / inputs) |
    | W_o and W_down (outputs into the residual stream) | N(0, 1 / inputs) / sqrt(2 L) |
    | FPResidual U; V; a | N(0, 1 / inputs); 0; 0.1 |
    | PFNet W_out; θ | 0; half-lives spaced from 1 to 256 steps |
    | rows of tables; gains and offsets of the document's memory | 0 |
    | gains | 1 |
    | biases; the gate's last bias | 0; 2, so that most patches are kept at first |
    | patch mix taps | 0 |
    """
    generator = torch.Generator().manual_seed(seed)
    depth_scale = (2 * len(model.blocks)) ** -0.5
    for name, tensor in model.named_parameters():
        role = name.rsplit(".", 1)[-1]
        if role == "gain":
            tensor.fill_(1.0)
        elif role == "theta":
            continue
        elif "residual.up" in name or name.endswith("memory.output") or role in ZERO:
            tensor.zero_()
        elif role.endswith("bias"):
            tensor.fill_(2.0 if name == "gate.down_bias" else 0.0)
        elif name.endswith("residual.scale"):
            tensor.fill_(0.1)
        elif is_embedding(name):
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


def computing_count(recipe: Recipe) -> int:
    """The number of trained scalars that each step computes with: all but lookups and rows that hashes select."""
    with torch.device("meta"):
        modules = list(Model(recipe.replace(tables=None, recall=None)).modules())
    looked_up = sum(module.table.numel() for module in modules if isinstance(module, HashedRows))
    return sum(tensor.numel() for tensor in modules[0].parameters()) - looked_up


def parameter_count(recipe: Recipe) -> int:
    """The number of trained scalars, counted on a model whose tensors take no memory."""
    with torch.device("meta"):
        return sum(tensor.numel() for tensor in Model(recipe).parameters())
