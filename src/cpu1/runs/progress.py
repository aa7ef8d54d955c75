"""How far a run has come, cheap enough to ask four times a second: only metrics.jsonl's end is read."""

import json
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

TAIL_BYTES = 1 << 16  # far longer than one line of metrics.jsonl


@dataclass(frozen=True)
class Progress:
    """One look at a run. Figures are None where nothing is known yet; `seconds_left` is training time."""

    state: str  # waiting, running, interrupted, done or failed
    title: str = ""
    step: int = 0
    steps: int | None = None
    loss: float | None = None  # nats a unit
    bpb: float | None = None
    bytes_per_s: float | None = None
    seconds: float | None = None  # of training so far
    seconds_left: float | None = None

    @property
    def share(self) -> float:
        """Of the steps, how many are behind it: 0 to 1."""
        if self.state == "done":
            return 1.0
        return min(self.step / self.steps, 1.0) if self.steps else 0.0


def progress(folder: Path, running: bool = False) -> Progress:
    """Looks at a run folder that may be missing or half-written; never raises for its content.

    The files cannot tell a live run from one that was stopped: `running` says whether a process works on it.
    """
    settings, result = read_object(folder / "settings.json"), read_object(folder / "result.json")
    last = last_line(folder / "metrics.jsonl")
    title = str((result or settings).get("title", ""))
    steps = positive(settings.get("steps"))
    if result:
        step, loss, bpb = (positive(result.get(key)) for key in ("step", "val_loss", "bpb"))
        speed, seconds = positive(last.get("bytes_per_s")), positive(last.get("seconds"))
        return Progress("done", title, int(step or 0), int(step or 0), loss, bpb, speed, seconds, 0.0)
    step, seconds = positive(last.get("step")) or 0, positive(last.get("seconds"))
    return Progress(
        state=state(folder, running, bool(last)),
        title=title,
        step=int(step),
        steps=int(steps) if steps else None,
        loss=positive(last.get("loss")),
        bpb=positive(last.get("bpb")),
        bytes_per_s=positive(last.get("bytes_per_s")),
        seconds=seconds,
        seconds_left=max(steps - step, 0) * seconds / step if steps and step and seconds else None,
    )


def state(folder: Path, running: bool, started: bool) -> str:
    """The state of a run without a result."""
    if running:
        return "running"
    if (folder / "error.json").exists():
        return "failed"
    return "interrupted" if started else "waiting"


def last_line(path: Path) -> dict[str, Any]:
    """The last whole JSON object of a file of lines, or {}; a line still being written is passed over."""
    try:
        with path.open("rb") as file:
            size = file.seek(0, 2)
            file.seek(max(0, size - TAIL_BYTES))
            tail = file.read(TAIL_BYTES)
    except OSError:
        return {}
    for line in reversed(tail.splitlines()):
        if value := parse(line):
            return value
    return {}


def read_object(path: Path) -> dict[str, Any]:
    """A JSON object, or {} where there is none that can be read."""
    try:
        return parse(path.read_bytes())
    except OSError:
        return {}


def parse(data: bytes) -> dict[str, Any]:
    """A line of metrics.jsonl; empty for one that is cut short or no object."""
    try:
        value = json.loads(data)  # of a loss that is not finite too
    except (ValueError, RecursionError):
        return {}
    return value if isinstance(value, dict) else {}


def positive(value: Any) -> float | None:
    """`value` when it is a finite number of at least 0, else None."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    return value if math.isfinite(value) and value >= 0 else None
