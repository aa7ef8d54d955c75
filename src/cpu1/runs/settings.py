"""`settings.json`: how a model is trained, which is everything beside the recipe that decides the resulting weights.

The two-stage schedule is that of BitNet b1.58 (arXiv 2402.17764; "The Era of 1-bit LLMs: Training Tips, Code and
FAQ"): two lines to the floor, the second from two thirds of the peak, and no weight decay under the second.
"""

import dataclasses
import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cpu1.errors import UserError
from cpu1.records import Level, later, read, written
from cpu1.runtime.sampling import is_whole

SECOND_STAGE = 0.5  # share of the steps after which the two-stage schedule's second line begins
SECOND_PEAK = 2 / 3  # of the peak rate, from which that line comes down
CHOICES = {"precision": ("bf16", "fp32"), "optimizer": ("adamw", "muon"), "schedule": ("wsd", "cosine", "two-stage")}
RANGES: dict[str, tuple[Callable[[float], bool], tuple[str, ...]]] = {
    "at least 1": (lambda value: value >= 1, ("steps", "batch", "window")),
    "positive": (lambda value: value > 0, ("rate", "ternary_rate", "table_rate", "clip", "temperature")),
    "at least 0": (lambda value: value >= 0, ("weight_decay", "z_loss", "beta")),
    "from 0 to 1": (lambda value: 0 <= value <= 1, ("warmup", "decay", "floor", "alpha")),
    "at least 0 and below 1": (lambda value: 0 <= value < 1, ("beta1", "beta2", "ternary_start")),
}
LABELS = ("run", "title", "parent", "level", "scale", "round", "seed", "data", "data_source", "data_sha256", "teacher",
          "teacher_cache", "start")  # fmt: skip


def read_value(text: str) -> int | float | str:
    """A setting's value from its text on the command line."""
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            continue
    return text


@dataclass(frozen=True)
class Settings:
    """What decides a run's weights beside its recipe. Sizes in bytes, or tokens for BPE runs."""

    run: str
    title: str
    parent: str | None
    level: Level
    scale: str
    round: str
    seed: int
    data: str  # name of the corpus
    data_source: str  # where it was read from
    data_sha256: str
    steps: int
    batch: int  # windows a step
    window: int  # units
    rate: float  # peak learning rate
    ternary_rate: float = 1.0  # factor on the rate of BitLinear weights
    warmup: float = 0.03  # share of the steps
    decay: float = 0.4  # share of the steps, at the end, linearly to `floor`
    floor: float = 0.05  # of the peak rate
    weight_decay: float = 0.1  # on matrices
    beta1: float = 0.9
    beta2: float = 0.95
    clip: float = 1.0  # of the gradient's norm
    precision: str = "bf16"  # of matrix products; master weights, norms, scales, scans and loss are fp32
    teacher: str | None = None  # content hash of the teacher's weights
    optimizer: str = later(default="adamw")  # or muon for the hidden matrices, with AdamW for the rest
    schedule: str = later(default="wsd")  # warm-up, stable, decay; or cosine, or two-stage
    z_loss: float = later(default=0.0)  # coefficient of mean(logsumexp(logits)²), PaLM, arXiv 2204.02311
    ternary_start: float = later(default=0.0)  # share of the steps done in full precision first (arXiv 2502.11895)
    teacher_cache: str | None = later(default=None)  # identity of the cache that teaches
    alpha: float = later(default=0.3)  # share of the teacher in the loss, where there is one
    temperature: float = later(default=1.0)  # at which its distribution is learned
    beta: float = later(default=0.1)  # weight of its hidden states, for a run that learns them
    table_rate: float = later(default=3.0)  # factor on the rate of tables of n-grams
    start: str | None = later(default=None)  # content hash of the weights that the run started from

    def __post_init__(self) -> None:
        for name, choices in CHOICES.items():
            if (value := getattr(self, name)) not in choices:
                raise UserError(f"{name} {value!r} is not known; there are {', '.join(choices)}")
        for wanted, (holds, names) in RANGES.items():
            for name in names:
                if not (math.isfinite(value := getattr(self, name)) and holds(value)):
                    raise UserError(f"{name} is {value}; it must be {wanted}")

    @property
    def warmup_steps(self) -> int:
        """Steps of the warm-up, at least 1."""
        return max(1, round(self.warmup * self.steps))

    def rate_at(self, step: int) -> float:
        """The learning rate of step 0, 1, ...: a linear warm-up under the schedule's curve."""
        rising = (step + 1) / self.warmup_steps
        return self.rate * min(1.0, rising, self._curve(step))

    def _curve(self, step: int) -> float:
        """The schedule's share of the peak rate, 1 or more where it is stable."""
        left, height = self.steps - step, 1 - self.floor
        if self.schedule == "wsd":
            return self.floor + height * left / max(1, round(self.decay * self.steps))
        if self.schedule == "cosine":
            share = min(1.0, left / max(1, self.steps - self.warmup_steps))
            return self.floor + height * (1 - math.cos(math.pi * share)) / 2
        return (self.floor + height * left / self.steps) * (SECOND_PEAK if self._second_stage(step) else 1.0)

    def weight_decay_at(self, step: int) -> float:
        """The weight decay of matrices in a step, counted from 0."""
        return 0.0 if self.schedule == "two-stage" and self._second_stage(step) else self.weight_decay

    def _second_stage(self, step: int) -> bool:
        return step >= SECOND_STAGE * self.steps

    def is_ternary_at(self, step: int) -> bool:
        """Whether BitLinear weights and activations are ternary in step 0, 1, ..."""
        return step >= self.ternary_start * self.steps

    def override(self, changes: dict[str, Any]) -> "Settings":
        """With some settings changed by name. Raises UserError for unknown names, other types and bad values."""
        values = {}
        for name, value in changes.items():
            known = getattr(self, name, None) if name in KNOBS else None
            if known is None or isinstance(known, str) != isinstance(value, str):
                raise UserError(f"--set {name}={value}: not a setting, or not of its type; known: {', '.join(KNOBS)}")
            if isinstance(known, int) and not is_whole(value):
                raise UserError(f"--set {name}={value}: must be a whole number")
            if isinstance(known, float) and not (is_whole(value) or isinstance(value, float)):
                raise UserError(f"--set {name}={value}: must be a number")
            values[name] = type(known)(value)
        return dataclasses.replace(self, **values)

    def to_json(self) -> dict[str, Any]:
        """The content of settings.json, which also identifies a run's checkpoints."""
        return written(self)

    @classmethod
    def read(cls, path: Path) -> "Settings":
        """The settings in a run's settings.json; UserError when it is missing, damaged or of another version."""
        return read(cls, path)


KNOBS: tuple[str, ...] = tuple(f.name for f in dataclasses.fields(Settings) if f.name not in LABELS)
