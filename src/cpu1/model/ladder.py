"""The ladder: runs, each its parent plus one change; scales and rounds.

The only file that names runs: the original's sixteen are written at the end of it, and a run of one's own is one more
line there. The sixteen are reconstructions: the original model card names its ingredients and prints their sizes, it
does not define them.
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
    DocumentMemory,
    FoldedAttention,
    FourHeads,
    FPResidual,
    HiddenDistillation,
    LocalByteDecoder,
    NgramTables,
    PatchEmbedding,
    PFNet,
    SwiGLU,
    Ternary,
    TokenEmbedding,
    TokenHead,
    WordPatchEmbedding,
)
from cpu1.model.recipe import Recipe, differences


@dataclass(frozen=True)
class Scale:
    """How large: the sizes that a scale puts into any run's recipe, and the run's training batch."""

    width: int
    layers: int
    decoder: tuple[int, int]  # LocalByteDecoder: width, hidden
    vocabulary_share: float  # of the BPE vocabulary that the card names
    head_size: int  # of attention
    batch_bytes: int  # of text in a training step
    window_bytes: int  # of text in one training sequence
    rate: float  # peak learning rate
    table_rows: int  # of NgramTables, for each context


SCALES = {
    "demo": Scale(128, 3, (64, 256), 1 / 16, 32, 4096, 1024, 6e-3, 4096),
    "nano": Scale(192, 3, (96, 384), 1 / 16, 64, 4096, 1024, 6e-3, 32768),
    "small": Scale(320, 8, (192, 864), 1, 64, 8192, 1024, 3e-3, 65536),
    "base": Scale(512, 12, (192, 864), 1, 64, 16384, 1024, 2e-3, 65536),
}


@dataclass(frozen=True)
class Round:
    """The length of training: units seen per parameter, and the factor on the learning rate of BitLinear weights."""

    units_per_parameter: float
    ternary_rate: float = 1.0


ORIGINAL = ("original", "card")  # the scale that the original used for each run, and the name that this once had

ROUNDS = {"r1": Round(2), "r2": Round(15), "r3": Round(50, ternary_rate=2.0)}

# What the original calls a change, and the fields of a recipe that it may touch.
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
    recipe: Recipe  # at the original's scale
    parent: str | None = None
    says: tuple[str, ...] = ()  # the original's names for the change; none for a run that it does not have
    scale: str = "base"  # the original's
    teacher: str | None = None  # the run whose trained model teaches this one inside a study


@dataclass
class Ladder:
    """Rungs by name, in the order in which they were added."""

    rungs: dict[str, Rung] = field(default_factory=dict)

    def root(self, run: str, title: str, recipe: Recipe) -> None:
        """Adds a run without a parent."""
        self._add(Rung(run, title, recipe))

    def rung(
        self,
        run: str,
        parent: str,
        title: str,
        says: Iterable[str] = (),
        *,
        scale: str | None = None,
        teacher: str | None = None,
        **changes: Any,
    ) -> None:
        """Adds `parent` with other ingredients: `changes` are fields of `Recipe`.

        `says` names the original's changes (keys of `SAYS`); leave it out for a run that the original does not have.
        Raises ValueError for a name that is taken, an unknown parent, a change that `says` does not cover, or one that
        changes nothing.
        """
        if parent not in self.rungs:
            raise ValueError(f"run {run}: there is no run {parent} above it; the ladder has {', '.join(self.rungs)}")
        says, origin = tuple(says), self.rungs[parent]
        recipe = origin.recipe.replace(**changes)
        changed = set(differences(recipe, origin.recipe))
        if changed != set(changes):
            raise ValueError(f"run {run}: {sorted(set(changes) - changed)} is as in run {parent}")
        if says and changed != (allowed := set[str]().union(*(SAYS[word] for word in says))):
            raise ValueError(f"run {run}: {says} is a change of {sorted(allowed)}, not of {sorted(changed)}")
        if not says and not changed:
            raise ValueError(f"run {run}: nothing differs from run {parent}")
        scale = scale or origin.scale
        self._add(Rung(run, title, scaled(recipe, SCALES[scale]), parent, says, scale, teacher))

    def _add(self, rung: Rung) -> None:
        if rung.run in self.rungs:
            raise ValueError(f"run {rung.run}: the ladder has one of this name, {self.rungs[rung.run].title!r}")
        self.rungs[rung.run] = rung


def scaled(recipe: Recipe, scale: Scale) -> Recipe:
    """A copy of the recipe with a scale's sizes."""
    mixer, embedding, head, tables = recipe.mixer, recipe.embedding, recipe.head, recipe.tables
    if isinstance(mixer, Attention | FoldedAttention):
        mixer = replace(mixer, head_size=scale.head_size)
    if isinstance(head, LocalByteDecoder):
        width, hidden = scale.decoder
        head = replace(head, width=width, hidden=hidden)
    elif isinstance(head, TokenHead):
        vocabulary = max(512, round(head.vocabulary * scale.vocabulary_share))
        embedding, head = TokenEmbedding(vocabulary), TokenHead(vocabulary)
    if isinstance(embedding, WordPatchEmbedding):
        embedding = replace(embedding, rows=max(16, scale.table_rows // 4))
    if isinstance(tables, NgramTables):
        tables = replace(tables, rows=scale.table_rows)
    return recipe.replace(
        width=scale.width, layers=scale.layers, mixer=mixer, embedding=embedding, head=head, tables=tables
    )


def find(run: str) -> Rung:
    """The rung of a run's name, with or without the card's prefix `run_`. UserError lists the names it knows."""
    name = run.removeprefix("run_")
    if name not in LADDER:
        raise UserError(f"no run {run!r} on the ladder; it has {', '.join(LADDER)}")
    return LADDER[name]


def recipe(run: str, scale: str = "original") -> Recipe:
    """A run's recipe at a scale. `original` is what the original used for that run. UserError for unknown names."""
    rung = find(run)
    if scale in ORIGINAL:
        return rung.recipe
    if scale not in SCALES:
        raise UserError(f"no scale {scale!r}; there are original, {', '.join(SCALES)}")
    return scaled(rung.recipe, SCALES[scale])


# ------------------------------------------------------------------------------------------ the runs

_ladder = Ladder()
rung, LADDER = _ladder.rung, _ladder.rungs

_ladder.root(
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
rung("02a", "01", "Transformer + Byte + 4 heads (no LBD)", ["Byte", "4 heads"],
     embedding=PatchEmbedding(), head=FourHeads())  # fmt: skip
rung("02", "02a", "Transformer + Byte + LocalByteDecoder", ["LocalByteDecoder"], head=LocalByteDecoder())
rung("03", "02", "MLGRU + Byte, full precision", ["MLGRU"], mixer=MLGRU())
rung("04", "03", "MLGRU + Byte + Ternary", ["Ternary"], linear=Ternary())
rung("05", "04", "+ FPResidual", ["FPResidual"], residual=FPResidual())
rung("05b", "05", "MLGRU kernel-strict (no W_o)", ["kernel-strict (no W_o)"], mixer=MLGRU(output=False))
rung("06", "05", "+ Bolmo patch embedding", ["Bolmo patch embedding"], embedding=BolmoPatchEmbedding())
rung("07", "06", "+ DeleteGate (CPU-1 complete)", ["DeleteGate"], gate=DeleteGate())
rung("08", "02", "Folded Transformer + Byte + Ternary", ["Folded Transformer", "Ternary"],
     mixer=FoldedAttention(), linear=Ternary())  # fmt: skip
rung("09", "07", "+ PFNet", ["PFNet"], memory=PFNet())
rung("10", "09", "+ learned decay per channel", ["learned decay per channel"], memory=PFNet(learned_decay=True))
rung("13", "04", "Small CPU-1 + BPE 4K", ["BPE 4K", "small"], scale="small",
     embedding=TokenEmbedding(4096), head=TokenHead(4096))  # fmt: skip
rung("16", "07", "Small CPU-1 raw bytes, no teacher", ["small"], scale="small")
rung("14", "16", "Small CPU-1 byte (distilled)", ["byte distillation"], teacher="02", distill=ByteDistillation())
rung("15", "14", "Small CPU-1 byte + hidden distillation", ["hidden distillation"], teacher="02",
     distill=HiddenDistillation())  # fmt: skip

# Rungs of our own follow here: rung(NAME, PARENT, TITLE, FIELD=INGREDIENT).
rung("17", "04", "+ n-gram tables", tables=NgramTables(rows=SCALES["base"].table_rows))
rung("18", "17", "+ memory of the document", recall=DocumentMemory())
rung("19", "18", "+ patches that end behind words", embedding=WordPatchEmbedding())
