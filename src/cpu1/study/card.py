"""The card: what all runs of a study reached, a pure function of its folders.

One row for each (run, scale, round), over its seeds, in the order of the ladder; the original's figures
beside ours. Runs that failed or are unfinished keep their row and say why; runs of the ladder that were never
started are named. The same folders give the same bytes: nothing here knows the time or the machine.
"""

import math
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from cpu1.errors import UserError
from cpu1.evaluation.statistics import Interval, bpb_interval, difference
from cpu1.files import read_json
from cpu1.study import original
from cpu1.study.fields import Fields
from cpu1.study.folders import (
    Documents,
    Gate,
    Generation,
    Point,
    Position,
    Result,
    RunFolder,
    Ternary,
    load_runs,
)
from cpu1.study.progress import progress

Record = TypeVar("Record", Gate, Ternary)
SCALES = ("demo", "nano", "small", "base", "card")  # smallest first; any other scale follows by name


@dataclass(frozen=True)
class Trouble:
    """A seed without a result: "failed" with its error, or "unfinished" with how far it came."""

    seed: int
    state: str
    text: str


@dataclass(frozen=True)
class OnText:
    """Bits per byte of a text other than the study's own."""

    bpb: float
    bpb_interval: Interval
    difference: Interval | None  # less the parent rung's on the same text


@dataclass(frozen=True)
class Figures:
    """What a row's finished seeds reached: means over seeds, PPL the exponential of the mean loss."""

    params: int
    ram_fp32_mb: float
    file_bytes: int
    step: int
    units_seen: int
    bytes_seen: int
    tok_per_param: float
    corpus: dict[str, Any]
    val_loss: float  # nats a unit
    ppl: float
    bpb: float  # true bits a byte, also for token-level runs
    bpb_interval: Interval
    difference: Interval | None  # BPB less the parent rung's; None without a finished parent beside it
    delta_uniform: float  # nats a byte, less ln 256
    frequency_bpb: float
    nonfinite_steps: int  # summed over seeds
    patches_per_s: float | None  # generated; patches or tokens
    bytes_per_s: float | None
    gate: Gate | None
    ternary: Ternary | None
    generations_passed: int
    generation: Generation  # of the first seed
    train_bytes_per_s: float
    held_out: dict[str, OnText]  # by the text's name: those on which all seeds were scored
    positions: tuple[Position, ...]  # means over seeds; drawn, not tabled
    loss_r1: float | None = None  # in round 2, the same run's round 1, as the original has it
    ppl_r1: float | None = None
    delta_loss: float | None = None


@dataclass(frozen=True)
class Row:
    """One line of the card. `figures` is None when no seed has finished."""

    run: str
    scale: str
    round: str
    title: str
    level: str | None
    parent: str | None
    seeds: tuple[int, ...]  # the finished ones
    troubles: tuple[Trouble, ...]
    figures: Figures | None
    original: original.OriginalRow | None
    curve: tuple[Point, ...]  # the first finished seed's, held out; drawn, not tabled

    @property
    def family(self) -> str:
        """Which of the card's three kinds of run: "small" (13 to 16), "ternary" or "full precision"."""
        if original.is_small(self.run):
            return "small"
        return "ternary" if self.figures and self.figures.ternary else "full precision"


@dataclass(frozen=True)
class Baseline:
    """Bits per byte of something that is no run, on the same bytes."""

    name: str
    bpb: float


@dataclass(frozen=True)
class Section:
    """The rows of one scale and round, and the runs of the ladder that were never started there."""

    scale: str
    round: str
    rows: tuple[Row, ...]
    missing: tuple[str, ...]


@dataclass(frozen=True)
class Card:
    """The card of a study: sections by scale and round, and the baselines."""

    sections: tuple[Section, ...]
    baselines: tuple[Baseline, ...]

    @property
    def rows(self) -> tuple[Row, ...]:
        return tuple(row for section in self.sections for row in section.rows)


def build_card(study: Path, order: Sequence[str] | None = None) -> Card:
    """The card of a study folder; `order` is the ladder's (by default `cpu1.ladder.ORDER`).

    UserError: no such folder, no run in it, a damaged file, or runs evaluated on different documents.
    """
    study = Path(study)
    if order is None:
        from cpu1.ladder import ORDER

        order = ORDER
    folders = load_runs(study)
    if not folders:
        raise UserError(f"{study}: holds no run yet; `cpu1 study` trains them")
    names = sorted({(folder.key.scale, folder.key.round) for folder in folders}, key=section_rank)
    sections: list[Section] = []
    for scale, round in names:
        members = [folder for folder in folders if (folder.key.scale, folder.key.round) == (scale, round)]
        check_documents(members)
        first = next((s.rows for s in sections if (s.scale, s.round) == (scale, "r1") and round == "r2"), ())
        sections.append(build_section(scale, round, members, order, {row.run: row for row in first}))
    return Card(tuple(sections), read_baselines(study / "baselines.json"))


def section_rank(name: tuple[str, str]) -> tuple[int, str, str]:
    """Scales from small to large, rounds by name."""
    scale, round = name
    return (SCALES.index(scale) if scale in SCALES else len(SCALES), scale, round)


def check_documents(folders: Iterable[RunFolder]) -> None:
    """UserError unless all finished runs were evaluated on the same documents: else nothing pairs."""
    first: dict[str, tuple[Path, Documents]] = {}
    for folder in folders:
        texts = {name: text.documents for name, text in folder.held_out.items()}
        for name, documents in (texts | ({"": folder.documents} if folder.documents else {})).items():
            path, other = first.setdefault(name, (folder.path, documents))
            if not np.array_equal(documents.bytes_D, other.bytes_D):
                raise UserError(
                    f"{folder.path} and {path} were evaluated on different documents{name and ' of ' + name}; "
                    "evaluate both on the same text, or keep them in two studies"
                )


def build_section(
    scale: str, round: str, folders: Sequence[RunFolder], order: Sequence[str], first_round: dict[str, Row]
) -> Section:
    """All rows of a scale and round; runs that the ladder does not know follow at the end, by name."""
    by_run: dict[str, list[RunFolder]] = {}
    for folder in sorted(folders, key=lambda folder: folder.key.seed):
        by_run.setdefault(folder.key.run, []).append(folder)
    names = [run for run in order if run in by_run] + sorted(set(by_run) - set(order))
    rows = tuple(build_row(by_run[run], by_run, first_round.get(run)) for run in names)
    return Section(scale, round, rows, tuple(run for run in order if run not in by_run))


def build_row(seeds: list[RunFolder], by_run: dict[str, list[RunFolder]], first_round: Row | None) -> Row:
    """One run over its seeds; `by_run` is where its parent is looked up."""
    key = seeds[0].key
    done = [folder for folder in seeds if folder.result]
    known = next((about for folder in done + seeds if (about := folder.result or folder.settings)), None)
    parent = known.parent if known else None
    return Row(
        run=key.run,
        scale=key.scale,
        round=key.round,
        title=known.title if known else "",
        level=known.level if known else None,
        parent=parent,
        seeds=tuple(folder.key.seed for folder in done),
        troubles=tuple(trouble(folder) for folder in seeds if not folder.result),
        figures=build_figures(done, by_run.get(parent or "", []), first_round) if done else None,
        original=original.find(key.run, key.round),
        curve=done[0].result.curve if done and done[0].result else (),
    )


def trouble(folder: RunFolder) -> Trouble:
    """Why a run has no result."""
    if folder.error is not None:
        return Trouble(folder.key.seed, "failed", folder.error)
    step = progress(folder.path).step
    steps = folder.settings.steps if folder.settings else "?"
    return Trouble(folder.key.seed, "unfinished", f"at step {step} of {steps}")


def build_figures(done: list[RunFolder], parents: list[RunFolder], first_round: Row | None) -> Figures:
    """The figures of a run's finished seeds."""
    results = [folder.result for folder in done if folder.result]
    first = results[0]
    for folder, result in zip(done, results, strict=True):
        for name in ("params", "level", "parent", "corpus"):
            if getattr(result, name) != getattr(first, name):
                raise UserError(f'{folder.path} and {done[0].path} differ in "{name}", so they are no seeds of one run')
    loss = mean([result.val_loss for result in results])
    speeds = [folder.speed for folder in done if folder.speed]
    before = first_round.figures if first_round else None
    parents_done = [folder for folder in parents if folder.result]
    return Figures(
        params=first.params,
        ram_fp32_mb=first.ram_fp32_mb,
        file_bytes=whole_mean(results, "file_bytes"),
        step=whole_mean(results, "step"),
        units_seen=whole_mean(results, "units_seen"),
        bytes_seen=whole_mean(results, "bytes_seen"),
        tok_per_param=mean([result.tok_per_param for result in results]),
        corpus=first.corpus,
        val_loss=loss,
        ppl=exponential(loss),
        bpb=mean([result.bpb for result in results]),
        bpb_interval=bpb_interval(nats(done), bytes_of(done)),
        difference=compare(done, parents_done),
        delta_uniform=mean([result.delta_uniform for result in results]),
        frequency_bpb=first.frequency_bpb,
        nonfinite_steps=sum(result.nonfinite_steps for result in results),
        patches_per_s=mean([speed.patches_per_s for speed in speeds]) if speeds else None,
        bytes_per_s=mean([speed.bytes_per_s for speed in speeds]) if speeds else None,
        gate=mean_of(Gate, [result.gate for result in results if result.gate]),
        ternary=mean_of(Ternary, [result.ternary for result in results if result.ternary]),
        generations_passed=sum(result.generation.verdict == "PASS" for result in results),
        generation=first.generation,
        train_bytes_per_s=mean([result.train_bytes_per_s for result in results]),
        held_out={name: on_text(name, done, parents_done) for name in texts(done)},
        positions=mean_positions(results),
        loss_r1=before.val_loss if before else None,
        ppl_r1=before.ppl if before else None,
        delta_loss=loss - before.val_loss if before else None,
    )


def texts(folders: Sequence[RunFolder]) -> list[str]:
    """The other texts that all of these runs were scored on."""
    return [name for name in folders[0].held_out if all(name in folder.held_out for folder in folders)]


def on_text(name: str, done: list[RunFolder], parents: list[RunFolder]) -> OnText:
    """A run's finished seeds on another text."""
    interval = bpb_interval(nats(done, name), bytes_of(done, name))
    paired = bool(parents) and name in texts(parents)
    return OnText(interval.value, interval, compare(done, parents, name) if paired else None)


def compare(children: list[RunFolder], parents: list[RunFolder], text: str = "") -> Interval | None:
    """BPB less the parent rung's, or None when no seed of the parent has finished beside it."""
    if not parents:
        return None
    return difference(nats(children, text), nats(parents, text), bytes_of(children, text))


def documents_of(folder: RunFolder, text: str) -> Documents:
    """A finished run's documents of its own text ("") or another."""
    found = folder.held_out[text].documents if text else folder.documents
    assert found
    return found


def nats(folders: list[RunFolder], text: str = "") -> np.ndarray:
    """[S, D] the loss of each document by seed."""
    return np.stack([documents_of(folder, text).nats_D for folder in folders])


def bytes_of(folders: list[RunFolder], text: str = "") -> np.ndarray:
    """[D] the length of each document; the same for all seeds (`check_documents`)."""
    return documents_of(folders[0], text).bytes_D


def mean(values: Sequence[float]) -> float:
    return math.fsum(values) / len(values)


def mean_positions(results: Sequence[Result]) -> tuple[Position, ...]:
    """By place in the window; nothing where the seeds tell different places, or none."""
    starts = [tuple(position.start for position in result.positions) for result in results]
    if len(set(starts)) > 1:
        return ()
    columns = zip(*(result.positions for result in results), strict=True)
    return tuple(Position(column[0].start, mean([place.bpb for place in column])) for column in columns)


def whole_mean(results: Sequence[Result], name: str) -> int:
    return round(mean([getattr(result, name) for result in results]))


def mean_of(kind: type[Record], records: Sequence[Record]) -> Record | None:
    """The mean of records of numbers, field by field; None of none."""
    if not records:
        return None
    return kind(*(mean([getattr(record, field.name) for record in records]) for field in fields(kind)))


def exponential(value: float) -> float:
    """exp, the largest float where that would overflow: JSON has no infinity."""
    return math.exp(min(value, 709.0))


def read_baselines(path: Path) -> tuple[Baseline, ...]:
    """baselines.json, worst first; none when it is not written yet."""
    if not path.exists():
        return ()
    table = Fields(path, read_json(path))
    found = [Baseline(name, table.inside(name).number("bpb", 0)) for name in table.values]
    return tuple(sorted(found, key=lambda baseline: -baseline.bpb))


def to_json(card: Card) -> list[dict[str, Any]]:
    """The rows of card.json, by "kind": "run", "missing" (runs never started) and "baseline"."""
    rows: list[dict[str, Any]] = []
    for section in card.sections:
        rows += [row_json(row) for row in section.rows]
        if section.missing:
            rows.append(
                {
                    "kind": "missing",
                    "scale": section.scale,
                    "round": section.round,
                    "runs": list(section.missing),
                }
            )
    return rows + [{"kind": "baseline", "name": baseline.name, "bpb": baseline.bpb} for baseline in card.baselines]


def row_json(row: Row) -> dict[str, Any]:
    """One run's row: result.json's names where it has them; null throughout where no seed has finished."""
    value = asdict(row)
    del value["curve"]
    figures = value.pop("figures") or {field.name: None for field in fields(Figures)}
    if row.figures:
        bounds = row.figures.bpb_interval
        figures |= {"bpb_interval": [bounds.low, bounds.high], "bpb_interval_covers_seeds": bounds.seeds}
    return {"kind": "run", "state": "done" if row.figures else row.troubles[0].state} | value | figures
