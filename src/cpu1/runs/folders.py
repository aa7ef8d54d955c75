"""Run folders, read and validated: what one run left behind, as plain frozen records.

    <study>/<run>-<scale>-<round>-s<seed>/
        settings.json  result.json  documents.json  held-out.json  speed.json  error.json

A run is *done* when it has a result.json; that file is written once, at the end.
"""

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cpu1.errors import UserError
from cpu1.files import read_json
from cpu1.runs.fields import REMEDY, Fields

NAME = re.compile(r"(?P<run>[^-]+)-(?P<scale>[^-]+)-(?P<round>.+)-s(?P<seed>\d+)")
RESULT_FORMAT = 1
HELD_OUT = "held-out.json"


@dataclass(frozen=True)
class Key:
    """What tells one run of a study from another; also the name of its folder."""

    run: str
    scale: str
    round: str
    seed: int

    @property
    def folder(self) -> str:
        return f"{self.run}-{self.scale}-{self.round}-s{self.seed}"

    @staticmethod
    def of(folder: str) -> "Key | None":
        """The key that a folder's name spells, or None when it is no run folder's name."""
        match = NAME.fullmatch(folder)
        return Key(match["run"], match["scale"], match["round"], int(match["seed"])) if match else None


@dataclass(frozen=True)
class Settings:
    """What was asked for: settings.json."""

    steps: int
    title: str
    level: str
    parent: str | None


@dataclass(frozen=True)
class Gate:
    """The DeleteGate's report: BPB soft and hard, the share of patches deleted, and the share aimed at."""

    soft_bpb: float
    hard_bpb: float
    deletion_rate: float
    target: float


@dataclass(frozen=True)
class Ternary:
    """Share of ternary weights that are zero, and that changed sign or zero since the last look."""

    zero_fraction: float
    flip_rate: float


@dataclass(frozen=True)
class Generation:
    """The generation check: verdict PASS or FAIL, what it rests on, and the sample itself."""

    verdict: str
    printable: bool
    utf8: bool
    loop: float
    entropy: float
    corpus_entropy: float
    sample: str
    prompt: str


@dataclass(frozen=True)
class Speed:
    """Generation, one stream; a unit is a patch (four bytes) or a token."""

    patches_per_s: float
    bytes_per_s: float
    unit: str


@dataclass(frozen=True)
class Point:
    """A point of the learning curve: bytes seen so far, and the held-out bits per byte there."""

    bytes: int
    bpb: float
    seconds: float | None = None  # of training so far; older results do not tell


@dataclass(frozen=True)
class Position:
    """Bits per byte of the bytes from `start` on in their window, up to the next position's."""

    start: int
    bpb: float


@dataclass(frozen=True)
class Result:
    """What a finished run reached: result.json. Losses in nats, BPB in bits per byte, sizes in decimal MB."""

    title: str
    level: str
    parent: str | None
    params: int
    ram_fp32_mb: float
    file_bytes: int
    step: int
    units_seen: int
    bytes_seen: int
    tok_per_param: float
    corpus: dict[str, Any]  # name, sha256, split, documents, bytes, context
    val_loss: float
    bpb: float
    delta_uniform: float
    frequency_bpb: float
    nonfinite_steps: int
    gate: Gate | None
    ternary: Ternary | None
    generation: Generation
    train_bytes_per_s: float
    curve: tuple[Point, ...]
    positions: tuple[Position, ...]  # none in token-level runs, and in older results


@dataclass(frozen=True)
class Documents:
    """Loss by evaluated document; the same documents in the same order for every run of a study."""

    bytes_D: NDArray[np.float64]
    nats_D: NDArray[np.float64]


@dataclass(frozen=True)
class HeldOut:
    """A run on a text other than its own."""

    corpus: dict[str, Any]  # as a result's
    documents: Documents


@dataclass(frozen=True)
class RunFolder:
    """One run of a study. `result` and `documents` are None until it is done; `error` says why it failed."""

    path: Path
    key: Key
    settings: Settings | None
    result: Result | None
    documents: Documents | None
    held_out: dict[str, HeldOut]  # by the text's name
    speed: Speed | None
    error: str | None


def load_runs(study: Path) -> list[RunFolder]:
    """All run folders of a study, by name. UserError: no such study, or a damaged file (named)."""
    if not study.is_dir():
        raise UserError(f"{study}: no such study folder; `cpu1 study` makes one")
    folders = []
    for path in sorted(study.iterdir()):
        if not path.is_dir() or path.name.startswith("."):
            continue
        if key := Key.of(path.name):
            folders.append(load_run(path, key))
        elif (path / "result.json").exists():
            raise UserError(
                f"{path}: holds a result.json but is not named <run>-<scale>-<round>-s<seed>; "
                "rename it, or move it out of the study"
            )
    return folders


def load_run(path: Path, key: Key) -> RunFolder:
    """One run folder. UserError when a file in it is damaged or belongs to another run."""
    result = read_result(path / "result.json", key) if (path / "result.json").exists() else None
    return RunFolder(
        path=path,
        key=key,
        settings=read_settings(path / "settings.json") if (path / "settings.json").exists() else None,
        result=result,
        documents=read_documents(path / "documents.json", result.bpb) if result else None,
        held_out=read_held_out(path / HELD_OUT) if result else {},
        speed=read_speed(path / "speed.json") if (path / "speed.json").exists() else None,
        error=read_error(path / "error.json") if not result and (path / "error.json").exists() else None,
    )


def read_settings(path: Path) -> Settings:
    """settings.json: what was asked for."""
    fields = Fields(path, read_json(path))
    return Settings(
        steps=fields.count("steps"),
        title=fields.text("title"),
        level=fields.one_of("level", "byte", "token"),
        parent=None if fields.absent("parent") else fields.text("parent"),
    )


def read_result(path: Path, key: Key) -> Result:
    """result.json; UserError when it is damaged or is not the result of `key`."""
    fields = Fields(path, read_json(path))
    if fields.count("format") != RESULT_FORMAT:
        raise fields.fault("format", str(RESULT_FORMAT))
    found = Key(fields.text("run"), fields.text("scale"), fields.text("round"), fields.count("seed"))
    if found != key:
        raise UserError(f"{path}: is the result of {found.folder}, not of {key.folder}; rename the folder")
    return Result(
        title=fields.text("title"),
        level=fields.one_of("level", "byte", "token"),
        parent=None if fields.absent("parent") else fields.text("parent"),
        params=fields.count("params"),
        ram_fp32_mb=fields.number("ram_fp32_mb", 0),
        file_bytes=fields.count("file_bytes"),
        step=fields.count("step"),
        units_seen=fields.count("units_seen"),
        bytes_seen=fields.count("bytes_seen"),
        tok_per_param=fields.number("tok_per_param", 0),
        corpus=read_corpus(fields.inside("corpus")),
        val_loss=fields.number("val_loss", 0),
        bpb=fields.number("bpb", 0),
        delta_uniform=fields.number("delta_uniform"),
        frequency_bpb=fields.number("frequency_bpb", 0),
        nonfinite_steps=fields.count("nonfinite_steps"),
        gate=None if fields.absent("gate") else read_gate(fields.inside("gate")),
        ternary=None if fields.absent("ternary") else read_ternary(fields.inside("ternary")),
        generation=read_generation(fields.inside("generation")),
        train_bytes_per_s=fields.inside("train").number("bytes_per_s", 0),
        curve=read_curve(fields.inside("curve")),
        positions=() if fields.absent("positions") else read_positions(fields.inside("positions")),
    )


def read_corpus(fields: Fields) -> dict[str, Any]:
    """Which bytes were evaluated, and how."""
    texts = {key: fields.text(key) for key in ("name", "sha256", "split")}
    return texts | {key: fields.count(key) for key in ("documents", "bytes", "context")}


def read_gate(fields: Fields) -> Gate:
    return Gate(*(fields.number(key, 0) for key in ("soft_bpb", "hard_bpb", "deletion_rate", "target")))


def read_ternary(fields: Fields) -> Ternary:
    return Ternary(fields.number("zero_fraction", 0), fields.number("flip_rate", 0))


def read_generation(fields: Fields) -> Generation:
    return Generation(
        verdict=fields.one_of("verdict", "PASS", "FAIL"),
        printable=fields.flag("printable"),
        utf8=fields.flag("utf8"),
        loop=fields.number("loop", 0),
        entropy=fields.number("entropy", 0),
        corpus_entropy=fields.number("corpus_entropy", 0),
        sample=fields.text("sample"),
        prompt=fields.text("prompt"),
    )


def read_speed(path: Path) -> Speed:
    """speed.json: generation speed of one stream."""
    fields = Fields(path, read_json(path))
    return Speed(
        fields.number("patches_per_s", 0),
        fields.number("bytes_per_s", 0),
        fields.one_of("unit", "patch", "token"),
    )


def read_error(path: Path) -> str:
    """error.json: why a run ended without a result."""
    return Fields(path, read_json(path)).text("error")


def read_documents(path: Path, bpb: float) -> Documents:
    """documents.json, checked against the run's BPB: documents of another evaluation would pair wrongly."""
    return as_documents(Fields(path, read_json(path)), bpb)


def read_held_out(path: Path) -> dict[str, HeldOut]:
    """held-out.json, by the name of the text; nothing where the run was scored on its own text only."""
    if not path.exists():
        return {}
    fields, found = Fields(path, read_json(path)), {}
    for name in fields.values:
        text = fields.inside(name)
        documents = as_documents(text.inside("documents"), text.number("bpb", 0))
        found[name] = HeldOut(read_corpus(text.inside("corpus")), documents)
    return found


def as_documents(fields: Fields, bpb: float) -> Documents:
    """Bytes and nats of each document, which together give `bpb`."""
    bytes_D, nats_D = (as_vector(fields, key) for key in ("bytes", "nats"))
    if len(bytes_D) != len(nats_D) or not len(bytes_D):
        raise UserError(f'{fields.path}: "bytes" and "nats" hold {len(bytes_D)} and {len(nats_D)} documents; {REMEDY}')
    if bytes_D.min() < 1:
        raise fields.fault("bytes", "numbers of at least 1")
    found = nats_D.sum() / bytes_D.sum() / np.log(2)
    if abs(found - bpb) > 1e-3 * max(bpb, 1e-3):
        raise UserError(f"{fields.path}: its documents give {found:.4f} BPB, the run has {bpb:.4f}; {REMEDY}")
    return Documents(bytes_D, nats_D)


def as_vector(fields: Fields, key: str) -> NDArray[np.float64]:
    """A list of finite, non-negative numbers as an array."""
    values = fields.items(key)
    if not all(isinstance(value, int | float) and not isinstance(value, bool) for value in values):
        raise fields.fault(key, "a list of numbers")
    array = np.asarray(values, dtype=np.float64)
    if not np.isfinite(array).all() or (array < 0).any():
        raise fields.fault(key, "a list of finite numbers of at least 0")
    return array


def read_curve(fields: Fields) -> tuple[Point, ...]:
    """The held-out learning curve: as many bytes seen, and seconds where they are told, as BPB."""
    seen, bpb = as_vector(fields, "bytes"), as_vector(fields, "bpb")
    seconds = None if fields.absent("seconds") else as_vector(fields, "seconds")
    for key, values in (("bpb", bpb), ("seconds", seconds)):
        if values is not None and len(values) != len(seen):
            raise fields.fault(key, f"{len(seen)} numbers, one for each of bytes")
    times = [None] * len(seen) if seconds is None else seconds.tolist()
    return tuple(Point(int(at), float(value), time) for at, value, time in zip(seen, bpb, times, strict=True))


def read_positions(fields: Fields) -> tuple[Position, ...]:
    """Bits per byte by the place in a window: as many starts as BPB."""
    starts, bpb = as_vector(fields, "start"), as_vector(fields, "bpb")
    if len(starts) != len(bpb):
        raise fields.fault("bpb", f"{len(starts)} numbers, one for each start")
    return tuple(Position(int(start), float(value)) for start, value in zip(starts, bpb, strict=True))
