"""How a model is trained: everything beside the recipe that decides the resulting weights."""

import dataclasses
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cpu1.errors import UserError
from cpu1.files import read_json


@dataclass(frozen=True)
class Budget:
    """How long to train: exactly one of the three is given."""

    units_per_parameter: float | None = None
    bytes: int | None = None
    minutes: float | None = None

    def __post_init__(self) -> None:
        given = [value for value in (self.units_per_parameter, self.bytes, self.minutes) if value is not None]
        if len(given) != 1:
            raise UserError("give one budget: a round, --bytes or --minutes")
        if not (math.isfinite(given[0]) and given[0] > 0):
            raise UserError(f"the training budget is {given[0]}; it must be positive")


@dataclass(frozen=True)
class Settings:
    """The recipe of training; `settings.json` of a run folder. Sizes in bytes, or tokens for BPE runs."""

    run: str
    title: str
    parent: str | None
    level: str
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

    def __post_init__(self) -> None:
        if self.precision not in ("bf16", "fp32"):
            raise UserError(f"precision {self.precision!r} is neither bf16 nor fp32")
        for name in ("steps", "batch", "window"):
            if getattr(self, name) < 1:
                raise UserError(f"{name} is {getattr(self, name)}; it must be at least 1")
        for name in ("rate", "ternary_rate", "clip"):
            if not (math.isfinite(getattr(self, name)) and getattr(self, name) > 0):
                raise UserError(f"{name} is {getattr(self, name)}; it must be positive")

    @property
    def warmup_steps(self) -> int:
        return max(1, round(self.warmup * self.steps))

    def rate_at(self, step: int) -> float:
        """Warm-up, stable, decay: the learning rate of step 0, 1, ..."""
        decay_steps = max(1, round(self.decay * self.steps))
        rising = (step + 1) / self.warmup_steps
        falling = self.floor + (1 - self.floor) * (self.steps - step) / decay_steps
        return self.rate * min(1.0, rising, falling)

    def to_json(self) -> dict[str, Any]:
        return dataclasses.asdict(self)

    @classmethod
    def read(cls, path: Path) -> "Settings":
        value = read_json(path)
        try:
            return cls(**value)
        except TypeError as error:
            raise UserError(f"{path}: not the settings of this version of cpu1 ({error})") from None
