"""What a run's finished seeds reached: means, intervals, and differences to its parent's."""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import TypeVar

import numpy as np

from cpu1.errors import UserError
from cpu1.evaluation.statistics import Interval, bpb_interval, difference
from cpu1.runs.folders import Run
from cpu1.runs.result import Documents, Gate, Generation, Positions, Result, Scored, Ternary

Record = TypeVar("Record", Gate, Ternary)


@dataclass(frozen=True)
class OnText:
    """Bits per byte of a text other than the study's own."""

    bpb: float
    bpb_interval: Interval
    difference: Interval | None  # less the parent rung's on the same text
    document_bpb: float | None = None  # of whole documents, where all seeds have it


@dataclass(frozen=True)
class Figures:
    """What a row's finished seeds reached: means over seeds, but for speed; PPL is the exponential of the mean loss."""

    params: int
    ram_fp32_mb: float
    file_bytes: int
    step: int
    units_seen: int
    bytes_seen: int
    tok_per_param: float
    corpus: Scored
    val_loss: float  # nats a unit
    ppl: float
    bpb: float  # true bits a byte, also for token-level runs
    bpb_interval: Interval
    difference: Interval | None  # BPB less the parent rung's; None without a finished parent beside it
    delta_uniform: float  # nats a byte, less ln 256
    frequency_bpb: float
    nonfinite_steps: int  # summed over seeds
    patches_per_s: float | None  # generated, patches or tokens, by the fastest seed: other work can only slow one
    bytes_per_s: float | None
    gate: Gate | None
    ternary: Ternary | None
    generations_passed: int
    generation: Generation  # of the first seed
    train_bytes_per_s: float
    held_out: dict[str, OnText]  # by the text's name: those on which all seeds were scored
    positions: Positions | None  # means over seeds; drawn, not tabled
    loss_r1: float | None = None  # in round 2, the same run's round 1, as the original has it
    ppl_r1: float | None = None
    delta_loss: float | None = None
    document_bpb: float | None = None  # of whole documents, where all seeds have it


def build_figures(done: list[Run], parents: list[Run], before: "Figures | None") -> Figures:
    """The figures of a run's finished seeds; `before` are those of the same run's first round."""
    results = [folder.result for folder in done if folder.result]
    first = results[0]
    for folder, result in zip(done, results, strict=True):
        for name in ("params", "level", "parent", "corpus"):
            if getattr(result, name) != getattr(first, name):
                raise UserError(f'{folder.path} and {done[0].path} differ in "{name}", so they are no seeds of one run')
    loss = mean([result.val_loss for result in results])
    speeds = [folder.speed for folder in done if folder.speed]
    fastest = max(speeds, key=lambda speed: speed.bytes_per_s, default=None)
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
        patches_per_s=fastest.patches_per_s if fastest else None,
        bytes_per_s=fastest.bytes_per_s if fastest else None,
        gate=mean_of(Gate, [result.gate for result in results if result.gate]),
        ternary=mean_of(Ternary, [result.ternary for result in results if result.ternary]),
        generations_passed=sum(result.generation.verdict == "PASS" for result in results),
        generation=first.generation,
        train_bytes_per_s=mean([result.train.bytes_per_s for result in results]),
        held_out={name: on_text(name, done, parents_done) for name in texts(done)},
        positions=mean_positions(results),
        loss_r1=before.val_loss if before else None,
        ppl_r1=before.ppl if before else None,
        delta_loss=loss - before.val_loss if before else None,
        document_bpb=mean_if_all([result.document_bpb for result in results]),
    )


def texts(folders: Sequence[Run]) -> list[str]:
    """The other texts that all of these runs were scored on."""
    return [name for name in folders[0].held_out if all(name in folder.held_out for folder in folders)]


def on_text(name: str, done: list[Run], parents: list[Run]) -> OnText:
    """A run's finished seeds on another text."""
    interval = bpb_interval(nats(done, name), bytes_of(done, name))
    paired = bool(parents) and name in texts(parents)
    whole = mean_if_all([folder.held_out[name].document_bpb for folder in done])
    return OnText(interval.value, interval, compare(done, parents, name) if paired else None, whole)


def in_common(one: list[Run], other: list[Run]) -> tuple[list[Run], list[Run]]:
    """Of both sides the runs whose seeds both have: a seed decides the order of text, of which some serve every run
    better. All of them where no seed is shared.
    """
    seeds = {folder.key.seed for folder in one} & {folder.key.seed for folder in other}
    if not seeds:
        return one, other
    return [folder for folder in one if folder.key.seed in seeds], [f for f in other if f.key.seed in seeds]


def compare(children: list[Run], parents: list[Run], text: str = "") -> Interval | None:
    """BPB less the parent rung's, or None when no seed of the parent has finished beside it."""
    if not parents:
        return None
    children, parents = in_common(children, parents)
    return difference(nats(children, text), nats(parents, text), bytes_of(children, text))


def documents_of(folder: Run, text: str) -> Documents:
    """A finished run's documents of its own text ("") or another."""
    found = folder.held_out[text].documents if text else folder.documents
    assert found
    return found


def nats(folders: list[Run], text: str = "") -> np.ndarray:
    """[S, D] the loss of each document by seed."""
    return np.stack([documents_of(folder, text).nats_D for folder in folders])


def bytes_of(folders: list[Run], text: str = "") -> np.ndarray:
    """[D] the length of each document; the same for all seeds (`check_documents`)."""
    return documents_of(folders[0], text).bytes_D


def mean(values: Sequence[float]) -> float:
    """The arithmetic mean, summed exactly."""
    return math.fsum(values) / len(values)


def mean_if_all(values: Sequence[float | None]) -> float | None:
    """The mean of values that are all there, else None."""
    known = [value for value in values if value is not None]
    return mean(known) if len(known) == len(values) else None


def mean_positions(results: Sequence[Result]) -> Positions | None:
    """By place in the window; None where the seeds have different places, or none."""
    first, *others = (result.positions for result in results)
    if first is None or any(other is None or other.start != first.start for other in others):
        return None
    columns = zip(*(result.positions.bpb for result in results if result.positions), strict=True)
    return Positions(first.start, tuple(mean(column) for column in columns))


def whole_mean(results: Sequence[Result], name: str) -> int:
    """The mean over results of the number called `name`, rounded."""
    return round(mean([getattr(result, name) for result in results]))


def mean_of(kind: type[Record], records: Sequence[Record]) -> Record | None:
    """The mean of records of numbers, field by field; None of none."""
    if not records:
        return None
    return kind(*(mean([getattr(record, field.name) for record in records]) for field in fields(kind)))


def exponential(value: float) -> float:
    """exp, the largest float where that would overflow: JSON has no infinity."""
    return math.exp(min(value, 709.0))


def check_documents(folders: Iterable[Run]) -> None:
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
