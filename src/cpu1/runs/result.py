"""What a run reached: the one record of it, written by training and evaluation and read by everything behind them.

A run folder holds each part in a file of its own:

    result.json     Result
    documents.json  Documents, of the run's own text
    held-out.json   HeldOut by the name of another text
    speed.json      Speed
    env.json        Environment
    error.json      Fault

Losses are in nats, bits per byte (BPB) are bits of each byte of text, sizes are decimal MB.
"""

from dataclasses import dataclass
from functools import cached_property
from typing import Annotated, Final, Literal

import numpy as np
from numpy.typing import NDArray

from cpu1.errors import UserError
from cpu1.records import REMEDY, Amount, Count, Level, OneOf, Range, later

FORMAT: Final = 1


@dataclass(frozen=True)
class Scored:
    """Which bytes were scored, and how far each prediction could look back."""

    name: str
    sha256: str  # of the whole text
    split: str
    documents: Count
    bytes: Count
    context: Count  # bytes


@dataclass(frozen=True)
class Positions:
    """BPB by place in the window: of the bytes from each start on, up to the next."""

    start: tuple[Count, ...]
    bpb: tuple[Amount, ...]

    def __post_init__(self) -> None:
        _same_length("positions", bpb=self.bpb, start=self.start)


@dataclass(frozen=True, kw_only=True)
class Curve:
    """The held-out learning curve: bytes seen, seconds of training (older results lack them), BPB."""

    bytes: tuple[Count, ...]
    seconds: tuple[Amount, ...] | None = later(default=None)
    bpb: tuple[Amount, ...]

    def __post_init__(self) -> None:
        _same_length("curve", bpb=self.bpb, bytes=self.bytes)
        if self.seconds is not None:
            _same_length("curve", seconds=self.seconds, bytes=self.bytes)


@dataclass(frozen=True)
class Gate:
    """The DeleteGate: BPB soft and hard, the share of patches deleted, and the share aimed at."""

    soft_bpb: Amount
    hard_bpb: Amount
    deletion_rate: Amount
    target: Amount


@dataclass(frozen=True)
class Ternary:
    """Share of ternary weights that are zero, and that changed sign or zero since the last look."""

    zero_fraction: Amount
    flip_rate: Amount


@dataclass(frozen=True)
class Generation:
    """The generation check: its verdict, what it rests on (`evaluation.generation`), and the sample itself."""

    verdict: Literal["PASS", "FAIL"]
    utf8: bool
    printable: bool
    loop: Amount
    entropy: Amount  # bits
    corpus_entropy: Amount
    tolerance: Amount
    reasons: tuple[str, ...]
    prompt: str
    sample: str


@dataclass(frozen=True)
class Train:
    """How long it took."""

    seconds: Amount
    bytes_per_s: Amount


@dataclass(frozen=True, kw_only=True)
class Label:
    """Which run it is, how large, and how much it read."""

    format: Literal[1]
    run: str
    title: str
    level: Level
    parent: str | None
    scale: str
    round: str
    seed: Count
    params: Count
    ram_fp32_mb: Amount
    file_bytes: Count  # of the packed model
    step: Count
    units_seen: Count
    bytes_seen: Count
    tok_per_param: Amount


@dataclass(frozen=True, kw_only=True)
class Evaluation:
    """What scoring a trained model found. For token runs BPB and its kin are per byte of text."""

    corpus: Scored
    val_loss: Amount  # nats a unit
    ppl: Amount
    bpb: Amount
    delta_uniform: float  # nats a byte, less ln 256
    bpb_interval: tuple[float | None, float | None]  # 95%, over documents; None of a single one
    window_bpb: Amount | None = later(default=None)  # `bpb`, by its full name; older results lack it and what follows
    document_bpb: Amount | None = later(default=None)  # state and memory carried through whole documents
    document_interval: tuple[float | None, float | None] | None = later(default=None)
    positions: Positions | None = None  # none in token-level runs, and in older results
    frequency_bpb: Amount  # of the training split's byte frequencies alone
    gate: Gate | None
    generation: Generation


@dataclass(frozen=True, kw_only=True)
class Result(Evaluation, Label):
    """What a finished run reached: result.json, written once, when the run is done."""

    nonfinite_steps: Count
    ternary: Ternary | None
    curve: Curve
    train: Train


@dataclass(frozen=True)
class Documents:
    """Bytes and loss in nats of each scored document, in the same order for every run of a study."""

    bytes: tuple[Annotated[int, Range(1)], ...]
    nats: tuple[Amount, ...]

    @cached_property
    def bytes_D(self) -> NDArray[np.float64]:
        """Bytes of each document (D,)."""
        return np.array(self.bytes, np.float64)

    @cached_property
    def nats_D(self) -> NDArray[np.float64]:
        """Nats of each document (D,)."""
        return np.array(self.nats, np.float64)

    def check(self, bpb: float, source: str) -> None:
        """UserError unless they give `bpb`: documents of another evaluation would pair wrongly."""
        if not self.bytes or len(self.bytes) != len(self.nats):
            counts = f"{len(self.bytes)} and {len(self.nats)}"
            raise UserError(f'{source}: "bytes" and "nats" hold {counts} documents; {REMEDY}')
        found = self.nats_D.sum() / self.bytes_D.sum() / np.log(2)
        if abs(found - bpb) > 1e-3 * max(bpb, 1e-3):
            raise UserError(f"{source}: its documents give {found:.4f} BPB, the run has {bpb:.4f}; {REMEDY}")


@dataclass(frozen=True)
class HeldOut:
    """A run on a text other than its own."""

    corpus: Scored
    bpb: Amount  # of windows
    documents: Documents
    document_bpb: Amount | None = later(default=None)  # of whole documents; older results lack it


@dataclass(frozen=True)
class Speed:
    """Generation, one stream and one thread; a unit is a patch (four bytes) or a token."""

    patches_per_s: Amount
    bytes_per_s: Amount
    unit: Annotated[str, OneOf(("patch", "token"))]
    engine: str = "native"
    processor: str = later(default="")  # "": that of the training


@dataclass(frozen=True, kw_only=True)
class Environment:
    """What a result depends on beside recipe and settings."""

    cpu1: str | None  # None: imported from a source tree that is not installed
    python: str
    torch: str
    platform: str
    processor: str
    cores: int | None
    device: str = "cpu"
    processes: Count = 1
    threads: Count  # of one process
    cpu_capability: str = ""


@dataclass(frozen=True)
class Fault:
    """Why a run ended without a result."""

    error: str
    kind: str | None = later(default=None)


def _same_length(name: str, **columns: tuple[float, ...]) -> None:
    (one, values), (other, others) = columns.items()
    if len(values) != len(others):
        raise UserError(f'"{name}.{one}" has {len(values)} numbers, "{name}.{other}" {len(others)}; {REMEDY}')
