"""What comes back from a lent machine: few plain files, each below a size, all whole at any moment.

    lines.jsonl    every measurement, in order
    report.json    the machine, the steps, each run's state and figures
    runs.tar.gz    of each run: result, settings, metrics, documents, scores on held-out sets, log; no weights
    RUN-....cpu1   packed models, the most wanted ones

The work folder has the same content, but only a machine that is kept still has it at a second call. For
another machine, `restore` puts finished runs and measurements back from these files.
"""

import io
import json
import os
import shutil
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from cpu1.errors import UserError
from cpu1.files import write_atomic, write_json
from cpu1.runs.folders import HELD_OUT, Key

FILES, BYTES = 7, 16_000_000  # at most, and of each; eight may come back, and one may be a log
ALL_MODELS = 50_000_000  # bytes of packed models together
LINES, REPORT, RUNS = "lines.jsonl", "report.json", "runs.tar.gz"
KEPT = ("result.json", "recipe.json", "settings.json", "env.json", "metrics.jsonl", "documents.json", HELD_OUT,
        "error.json", "log.txt")  # fmt: skip
WANTED = ("18", "07", "04", "17", "10", "09", "06", "05", "03", "02", "08", "05b", "02a", "01")  # models, best first
ROUNDS = ("r1", "r2", "r3")


class Output:
    """The folder that comes back, fed from the work folder."""

    def __init__(self, folder: Path, work: Path) -> None:
        self.folder, self.work, self.study = folder, work, work / "study"
        self.seen: tuple[Any, ...] = ()
        for each in (folder, self.study):
            each.mkdir(parents=True, exist_ok=True)
        if (work / LINES).exists():
            write_atomic(folder / LINES, (work / LINES).read_bytes())

    def add(self, line: dict[str, Any]) -> None:
        """Appends a measurement where it outlives this process."""
        for path in (self.work / LINES, self.folder / LINES):
            with path.open("a", encoding="utf-8") as file:
                file.write(json.dumps(line) + "\n")

    def lines(self) -> list[dict[str, Any]]:
        """All measurements so far; a line cut short by a crash is left out."""
        return list(read_lines(self.work / LINES))

    def report(self, about: dict[str, Any]) -> None:
        write_json(self.folder / REPORT, about)

    def runs(self) -> list[dict[str, Any]]:
        """State and figures of each run folder, by name."""
        return [describe(folder) for folder in sorted(self.study.iterdir()) if Key.of(folder.name)]

    def collect(self) -> None:
        """Packs what runs have written, if any of it is new."""
        files = [path for folder in sorted(self.study.iterdir()) if folder.is_dir() for path in kept_files(folder)]
        stamps = tuple((str(path), path.stat().st_mtime_ns, path.stat().st_size) for path in files)
        if stamps == self.seen:
            return
        self.seen = stamps
        packed = io.BytesIO()
        with tarfile.open(fileobj=packed, mode="w:gz") as archive:
            for path in (*files, *sorted(self.work.glob("log-*.txt"))):
                archive.add(path, str(path.relative_to(self.work)))
        if len(packed.getvalue()) <= BYTES:
            write_atomic(self.folder / RUNS, packed.getvalue())
        self._collect_models()

    def _collect_models(self) -> None:
        """Copies the most wanted packed models, for which there is room, and takes away what they push out."""
        models = {f"{path.parent.name}.cpu1": path for path in self.study.glob("*/model.cpu1")
                  if (path.parent / "result.json").exists() and path.stat().st_size <= BYTES}  # fmt: skip
        chosen: list[str] = []
        room = ALL_MODELS
        for name in sorted(models, key=wanted):
            if len(chosen) < FILES - 3 and models[name].stat().st_size <= room:
                chosen.append(name)
                room -= models[name].stat().st_size
        for path in self.folder.glob("*.cpu1"):
            if path.name not in chosen:
                path.unlink()
        for name in chosen:
            target = self.folder / name
            if not target.exists() or target.stat().st_size != models[name].stat().st_size:
                write_atomic(target, models[name].read_bytes())

    def restore(self, before: Path) -> None:
        """Puts back what an earlier call brought home: measurements, finished runs, their models.

        Runs without scores on held-out sets stay away: their weights did not come back. UserError for a folder that
        holds no such files.
        """
        if not (before / LINES).exists():
            raise UserError(f"{before}: holds no {LINES}; name the folder that an earlier `make gpu` wrote")
        if not (self.work / LINES).exists():
            for path in (self.work / LINES, self.folder / LINES):
                shutil.copyfile(before / LINES, path)
        if (before / RUNS).exists():
            with tarfile.open(before / RUNS) as archive:
                names = set(archive.getnames())
                finished = {name.rpartition("/")[0] for name in names if name.endswith("/result.json")}
                scored = {folder for folder in finished if f"{folder}/{HELD_OUT}" in names}
                members = [each for each in archive if each.name.rpartition("/")[0] in scored]
                archive.extractall(self.work, members=[m for m in members if not (self.work / m.name).exists()],
                                   filter="data")  # fmt: skip
        for path in before.glob("*.cpu1"):
            folder = self.study / path.stem
            if (folder / "result.json").exists() and not (folder / "model.cpu1").exists():
                shutil.copyfile(path, folder / "model.cpu1")


def wanted(name: str) -> tuple[int, int]:
    """The place of a model `RUN-SCALE-ROUND-sSEED.cpu1` among all: by run, longer rounds first."""
    key = Key.of(name.removesuffix(".cpu1"))
    assert key is not None
    return WANTED.index(key.run) if key.run in WANTED else len(WANTED), -ROUNDS.index(key.round)


def kept_files(folder: Path) -> list[Path]:
    return [folder / name for name in KEPT if (folder / name).exists()]


def read_lines(path: Path) -> Iterator[dict[str, Any]]:
    if not path.exists():
        return
    for line in path.read_text(encoding="utf-8", errors="replace").splitlines():
        try:
            yield json.loads(line)
        except ValueError:
            continue


def describe(folder: Path) -> dict[str, Any]:
    """A run: its state, how far it is, what it reached."""
    about: dict[str, Any] = {"name": folder.name, "state": "unfinished"}
    last = list(read_lines(folder / "metrics.jsonl"))[-1:]
    steps = [line["steps"] for line in read_whole(folder / "settings.json")]
    about |= {"step": last[0]["step"] if last else 0, "steps": steps[0] if steps else None}
    for result in read_whole(folder / "result.json"):
        about |= {
            "state": "done",
            **{name: result[name] for name in ("params", "bpb", "file_bytes", "nonfinite_steps")},
        }
        about |= {"bytes_per_s": result["train"]["bytes_per_s"], "gate": result["gate"], "bytes": result["bytes_seen"]}
    for error in read_whole(folder / "error.json"):
        about |= {"state": "failed", "error": str(error["error"])[-500:]} if about["state"] != "done" else {}
    for scores in read_whole(folder / HELD_OUT):
        about["held_out"] = {name: score["bpb"] for name, score in scores.items()}
    return about


def read_whole(path: Path) -> Iterator[dict[str, Any]]:
    """The object in a file, if it is there and whole."""
    try:
        yield json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return


def default_folder() -> Path:
    """$OUT, else runs/gpu."""
    return Path(os.environ.get("OUT") or "runs/gpu")
