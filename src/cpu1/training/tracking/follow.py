"""Trackers that follow a run's metrics, each line once, however often the run is interrupted.

What a tracker has is noted in `tracking.json` of the run's folder. What it lacks comes from `metrics.jsonl`: the lines
from before it was asked for, and those from a time when it failed.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from types import TracebackType
from typing import Any

from cpu1.errors import UserError
from cpu1.files import read_json, write_json
from cpu1.runs.trained import Metrics
from cpu1.training.loop import Interrupted
from cpu1.training.tracking.tracker import Run, State, Tracker, start

NOTES = "tracking.json"
PROJECT = "cpu1"  # of runs that are tracked in their own folders; others belong to the folder that they share
RESULT = ("bpb", "val_loss", "file_bytes", "params")  # of result.json, beside the figures of the last step


@dataclass
class Note:
    """What a tracker has of a run."""

    id: str | None = None  # the tracker's own
    step: int = 0  # the last one that it has
    result: bool = False
    state: str = "new"  # or how it ended


class Tracking:
    """The trackers of one run. One that fails is left out from then on, with a line of warning."""

    def __init__(self, folder: Path, kinds: Iterable[str], store: Path | None, warn: Callable[[str], None]) -> None:
        """`store`: where the trackers keep their files; None: in the run's folder."""
        self.folder, self.store, self.warn = folder, store or folder, warn
        self.kinds = tuple(dict.fromkeys(kinds))
        self.notes: dict[str, Note] = {}
        self.trackers: dict[str, Tracker] = {}

    def __enter__(self) -> "Tracking":
        """Starts the trackers that lack something, and brings them up to date."""
        if not self.kinds:
            return self
        self.notes = self._read_notes()
        for kind in self.kinds:
            note = self.notes.setdefault(kind, Note())
            if note.state != "finished":
                self._try(kind, lambda kind=kind: self._start(kind))  # type: ignore[misc]
        for line in Metrics.read(self.folder / "metrics.jsonl"):
            self.line(line)
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: TracebackType | BaseException | None) -> None:
        """Ends the trackers."""
        state: State = "finished" if kind is None else "interrupted" if issubclass(kind, Interrupted) else "failed"
        for name in self.trackers.copy():
            self._try(name, lambda name=name: self._end(name, state))  # type: ignore[misc]
        self.trackers.clear()

    def line(self, line: Mapping[str, Any]) -> None:
        """A line of metrics."""
        figures = {name: value for name, value in line.items() if name != "step" and value is not None}
        for kind in self.trackers.copy():
            if line["step"] > self.notes[kind].step:
                self._try(kind, lambda kind=kind: self._log(kind, line["step"], figures))  # type: ignore[misc]

    def result(self, result: Mapping[str, Any]) -> None:
        """The figures of result.json."""
        figures = {f"result_{name}": result[name] for name in RESULT}
        for kind in self.trackers.copy():
            if not self.notes[kind].result:
                self._try(kind, lambda kind=kind: self._log(kind, result["step"], figures))  # type: ignore[misc]
                self.notes[kind].result = True

    def _start(self, kind: str) -> None:
        settings = {name: read_json(self.folder / f"{name}.json") for name in ("settings", "recipe")}
        config = {**settings["settings"], **{f"recipe_{name}": value for name, value in settings["recipe"].items()}}
        project = PROJECT if self.store == self.folder else self.store.resolve().name
        run = Run(project, self.folder.resolve().name, self.notes[kind].id, self.store, config)
        tracker = start(kind, run)
        self.notes[kind].id = tracker.id
        self.trackers[kind] = tracker
        self._write_notes()

    def _log(self, kind: str, step: int, figures: Mapping[str, float]) -> None:
        self.trackers[kind].log(step, figures)
        self.notes[kind].step = step
        self._write_notes()

    def _end(self, kind: str, state: State) -> None:
        self.trackers[kind].end(state)
        self.notes[kind].state = state
        self._write_notes()

    def _try(self, kind: str, work: Callable[[], None]) -> None:
        """Whatever a tracker's package raises must not end the training."""
        try:
            work()
        except Exception as error:
            self.trackers.pop(kind, None)
            cause = (str(error).strip() or type(error).__name__).splitlines()[0]
            self.warn(f"--track {kind}: {cause}; training continues without it, and metrics.jsonl has all figures")

    def _read_notes(self) -> dict[str, Note]:
        path = self.folder / NOTES
        if not path.exists():
            return {}
        try:
            return {kind: Note(**note) for kind, note in read_json(path).items()}
        except (AttributeError, TypeError):
            raise UserError(f"{path}: is damaged; remove it, and the run is tracked again from its start") from None

    def _write_notes(self) -> None:
        write_json(self.folder / NOTES, {kind: asdict(note) for kind, note in self.notes.items()})
