"""The ladder: the sixteen runs of the original's card, each its parent plus one change; scales and rounds.

Only this file names runs. The definitions are reconstructions: the card names its ingredients and prints their sizes
without defining them.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from typing import Any

from cpu1.errors import UserError
from cpu1.model.ingredients import (
    MLGRU,
    Attention,
    BolmoPatchEmbedding,
    ByteDistillation,
    DeleteGate,
    Dense,
    FoldedAttention,
    FourHeads,
    FPResidual,
    HiddenDistillation,
    LocalByteDecoder,
    PatchEmbedding,
    PFNet,
    SwiGLU,
    Ternary,
    TokenEmbedding,
    TokenHead,
)
from cpu1.model.recipe import Recipe, differences


@dataclass(frozen=True)
class Scale:
    """The sizes that a scale puts into any run's recipe, and the run's training batch and learning rate."""

    width: int
    layers: int
    decoder: tuple[int, int]  # LocalByteDecoder: width, hidden
    vocabulary_share: float  # of the BPE vocabulary that the card names
    head_size: int  # of attention
    batch_bytes: int  # of text in a training step
    window_bytes: int  # of text in one training sequence
    rate: float  # peak learning rate


SCALES = {
    "demo": Scale(128, 3, (64, 256), 1 / 16, 32, 4096, 1024, 6e-3),
    "nano": Scale(192, 3, (96, 384), 1 / 16, 64, 4096, 1024, 6e-3),
    "small": Scale(320, 8, (192, 864), 1, 64, 8192, 1024, 3e-3),
    "base": Scale(512, 12, (192, 864), 1, 64, 16384, 1024, 2e-3),
}


@dataclass(frozen=True)
class Round:
    """The length of training: units seen per parameter, and the factor on the learning rate of BitLinear weights."""

    units_per_parameter: float
    ternary_rate: float = 1.0


ROUNDS = {"r1": Round(2), "r2": Round(15), "r3": Round(50, ternary_rate=2.0)}

# The card's name of each change, and the fields of a recipe that it must touch.
SAYS = {
    "Byte": {"embedding"},
    "4 heads": {"head"},
    "LocalByteDecoder": {"head"},
    "MLGRU": {"mixer"},
    "Ternary": {"linear"},
    "FPResidual": {"residual"},
    "kernel-strict (no W_o)": {"mixer"},
    "Bolmo patch embedding": {"embedding"},
    "DeleteGate": {"gate"},
    "Folded Transformer": {"mixer"},
    "PFNet": {"memory"},
    "learned decay per channel": {"memory"},
    "BPE 4K": {"embedding", "head"},
    "byte distillation": {"distill"},
    "hidden distillation": {"distill"},
    "small": set[str](),
}


@dataclass(frozen=True)
class Rung:
    """One run of the ladder."""

    run: str
    title: str
    recipe: Recipe  # at the scale that the card used
    parent: str | None = None
    says: tuple[str, ...] = ()  # what the card says of the change from the parent: keys of SAYS
    scale: str = "base"  # that the card used
    teacher: str | None = None  # the run whose trained model teaches this one inside a study


@dataclass
class Ladder:
    """The rungs by name, in the card's order."""

    rungs: dict[str, Rung] = field(default_factory=dict)

    def root(self, run: str, title: str, recipe: Recipe) -> None:
        """Adds a run without a parent."""
        self.rungs[run] = Rung(run, title, recipe)

    def rung(
        self,
        run: str,
        parent: str,
        title: str,
        says: Iterable[str],
        *,
        scale: str | None = None,
        teacher: str | None = None,
        **changes: Any,
    ) -> None:
        """Adds the run `parent` plus `changes`, fields of a recipe with their new values.

        ValueError for a change that `says` does not cover, or that changes nothing.
        """
        says, origin = tuple(says), self.rungs[parent]
        recipe = origin.recipe.replace(**changes)
        changed = set(differences(recipe, origin.recipe))
        allowed = set[str]().union(*(SAYS[word] for word in says))
        if changed != allowed or changed != set(changes):
            raise ValueError(f"run {run}: the card says {says}, that is {sorted(allowed)}; changed: {sorted(changed)}")
        scale = scale or origin.scale
        self.rungs[run] = Rung(run, title, scaled(recipe, SCALES[scale]), parent, says, scale, teacher)


def scaled(recipe: Recipe, scale: Scale) -> Recipe:
    """A copy of the recipe with a scale's sizes."""
    mixer, embedding, head = recipe.mixer, recipe.embedding, recipe.head
    if isinstance(mixer, Attention | FoldedAttention):
        mixer = replace(mixer, head_size=scale.head_size)
    if isinstance(head, LocalByteDecoder):
        width, hidden = scale.decoder
        head = replace(head, width=width, hidden=hidden)
    elif isinstance(head, TokenHead):
        vocabulary = max(512, round(head.vocabulary * scale.vocabulary_share))
        embedding, head = TokenEmbedding(vocabulary), TokenHead(vocabulary)
    return recipe.replace(width=scale.width, layers=scale.layers, mixer=mixer, embedding=embedding, head=head)


def _chain() -> dict[str, Rung]:
    ladder = Ladder()
    ladder.root(
        "01",
        "Transformer + BPE 16K",
        Recipe(
            width=512,
            layers=12,
            embedding=TokenEmbedding(16384),
            mixer=Attention(),
            ffn=SwiGLU(),
            linear=Dense(),
            head=TokenHead(16384),
        ),
    )
    rung = ladder.rung
    # fmt: off
    rung("02a", "01", "Transformer + Byte + 4 heads (no LBD)", ["Byte", "4 heads"],
         embedding=PatchEmbedding(), head=FourHeads())
    rung("02", "02a", "Transformer + Byte + LocalByteDecoder", ["LocalByteDecoder"], head=LocalByteDecoder())
    rung("03", "02", "MLGRU + Byte, full precision", ["MLGRU"], mixer=MLGRU())
    rung("04", "03", "MLGRU + Byte + Ternary", ["Ternary"], linear=Ternary())
    rung("05", "04", "+ FPResidual", ["FPResidual"], residual=FPResidual())
    rung("05b", "05", "MLGRU kernel-strict (no W_o)", ["kernel-strict (no W_o)"], mixer=MLGRU(output=False))
    rung("06", "05", "+ Bolmo patch embedding", ["Bolmo patch embedding"], embedding=BolmoPatchEmbedding())
    rung("07", "06", "+ DeleteGate (CPU-1 complete)", ["DeleteGate"], gate=DeleteGate())
    rung("08", "02", "Folded Transformer + Byte + Ternary", ["Folded Transformer", "Ternary"],
         mixer=FoldedAttention(), linear=Ternary())
    rung("09", "07", "+ PFNet", ["PFNet"], memory=PFNet())
    rung("10", "09", "+ learned decay per channel", ["learned decay per channel"],
         memory=PFNet(learned_decay=True))
    rung("13", "04", "Small CPU-1 + BPE 4K", ["BPE 4K", "small"], scale="small",
         embedding=TokenEmbedding(4096), head=TokenHead(4096))
    rung("16", "07", "Small CPU-1 raw bytes, no teacher", ["small"], scale="small")
    rung("14", "16", "Small CPU-1 byte (distilled)", ["byte distillation"], teacher="02",
         distill=ByteDistillation())
    rung("15", "14", "Small CPU-1 byte + hidden distillation", ["hidden distillation"], teacher="02",
         distill=HiddenDistillation())
    # fmt: on
    return ladder.rungs


# In the order of the card.
ORDER = ("01", "02a", "02", "03", "04", "05", "05b", "06", "07", "08", "09", "10", "13", "14", "15", "16")
_rungs = _chain()
LADDER = {run: _rungs[run] for run in ORDER}


def find(run: str) -> Rung:
    """The rung of a run's name, with or without the card's prefix `run_`. UserError lists the names it knows."""
    name = run.removeprefix("run_")
    if name not in LADDER:
        raise UserError(f"no run {run!r} on the ladder; it has {', '.join(LADDER)}")
    return LADDER[name]


def recipe(run: str, scale: str = "card") -> Recipe:
    """A run's recipe at a scale. `card` is the scale that the card used for that run. UserError for unknown names."""
    rung = find(run)
    if scale == "card":
        return rung.recipe
    if scale not in SCALES:
        raise UserError(f"no scale {scale!r}; there are card, {', '.join(SCALES)}")
    return scaled(rung.recipe, SCALES[scale])
