"""The original model card's figures, row by row, to stand beside ours.

They come from **another text and another machine**, so they compare in kind only, never digit by digit.
Source: the model card of Cukinator/cpu1-ablations-final, Apache-2.0, transcribed in `original.json`.
"""

import json
from dataclasses import dataclass
from functools import cache
from importlib import resources

SOURCE = "Cukinator/cpu1-ablations-final"
LICENCE = "Apache-2.0"


@dataclass(frozen=True)
class OriginalRow:
    """One row of the original card. None: not given there; columns named in `nan` were printed as nan there.

    `loss_r1`, `ppl_r1` and `delta_loss` are the comparison columns of the card's table of round 2.
    """

    run: str  # "02a"
    name: str  # "run_02a_byte_only_heads_v3"
    table: str  # "chain", "small", "round 2" or "round 3"
    round: str  # "r1", "r2" or "r3"
    architecture: str  # as worded there
    level: str  # "byte" or "token"
    params_m: float
    ram_fp32_mb: float | None
    val_loss: float | None  # nats a unit
    ppl: float | None
    bpb: float | None  # bits a byte; byte-level rows only
    delta_uniform: float | None  # val_loss - ln 256
    patches_per_s: float | None
    bytes_per_s: float | None
    step: int | None
    loss_r1: float | None
    ppl_r1: float | None
    delta_loss: float | None
    nan: tuple[str, ...]


@cache
def rows() -> tuple[OriginalRow, ...]:
    """All 34 rows, in the order of the original card."""
    text = resources.files(__package__).joinpath("original.json").read_text(encoding="utf-8")
    return tuple(OriginalRow(**{**row, "nan": tuple(row["nan"])}) for row in json.loads(text)["rows"])


def find(run: str, round: str) -> OriginalRow | None:
    """The original row of `run` in `round` ("r1", "r2", "r3"), or None where the card has none."""
    return next((row for row in rows() if (row.run, row.round) == (run, round)), None)


def is_small(run: str) -> bool:
    """Whether the original lists `run` among its small runs (13 to 16) and not in the chain."""
    return any(row.run == run and row.table == "small" for row in rows())
