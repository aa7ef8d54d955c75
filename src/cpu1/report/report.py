"""The report: what all runs of a study reached, a pure function of its folders.

One row for each (run, scale, round), over its seeds, in the order of the ladder; the original's figures
beside ours. Runs that failed or are unfinished keep their row and say why; runs of the ladder that were never
started are named. The same folders give the same bytes: nothing here knows the time or the machine.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

from cpu1.errors import UserError
from cpu1.report import original
from cpu1.report.statistics import Figures, build_figures, check_documents
from cpu1.runs.folders import Run
from cpu1.runs.progress import progress
from cpu1.runs.result import Curve
from cpu1.runs.studies import load_study

SCALES = ("demo", "nano", "small", "base", "original", "card")  # smallest first; any other scale follows by name


@dataclass(frozen=True)
class Trouble:
    """A seed without a result: "failed" with its error, or "unfinished" with how far it came."""

    seed: int
    state: str
    text: str


@dataclass(frozen=True)
class Row:
    """One line of the report. `figures` is None when no seed has finished."""

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
    curve: Curve | None  # the first finished seed's, held out; drawn, not tabled

    @property
    def family(self) -> str:
        """Which of the original's three kinds of run: "small" (13 to 16), "ternary" or "full precision"."""
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
class StudyReport:
    """The report of a study: sections by scale and round, and the baselines."""

    sections: tuple[Section, ...]
    baselines: tuple[Baseline, ...]

    @property
    def rows(self) -> tuple[Row, ...]:
        """The rows of all sections, in order."""
        return tuple(row for section in self.sections for row in section.rows)


def build_report(study: Path, order: Sequence[str] | None = None) -> StudyReport:
    """The report of a study, folder or gathered file; `order` is the ladder's (by default `cpu1.model.ladder.LADDER`).

    UserError: no such study, no run in it, a damaged file, or runs evaluated on different documents.
    """
    found = load_study(Path(study))
    if order is None:
        from cpu1.model.ladder import LADDER

        order = tuple(LADDER)
    folders = found.runs
    if not folders:
        raise UserError(f"{study}: holds no run yet; `cpu1 study` trains them")
    names = sorted({(folder.key.scale, folder.key.round) for folder in folders}, key=section_rank)
    sections: list[Section] = []
    for scale, round in names:
        members = [folder for folder in folders if (folder.key.scale, folder.key.round) == (scale, round)]
        check_documents(members)
        first = next((s.rows for s in sections if (s.scale, s.round) == (scale, "r1") and round == "r2"), ())
        sections.append(build_section(scale, round, members, order, {row.run: row for row in first}))
    baselines = [Baseline(name, line.bpb) for name, line in found.about.baselines.items()]
    return StudyReport(tuple(sections), tuple(sorted(baselines, key=lambda baseline: -baseline.bpb)))


def section_rank(name: tuple[str, str]) -> tuple[int, str, str]:
    """Scales from small to large, rounds by name."""
    scale, round = name
    return (SCALES.index(scale) if scale in SCALES else len(SCALES), scale, round)


def build_section(
    scale: str, round: str, folders: Sequence[Run], order: Sequence[str], first_round: dict[str, Row]
) -> Section:
    """All rows of a scale and round; runs that the ladder does not know follow at the end, by name."""
    by_run: dict[str, list[Run]] = {}
    for folder in sorted(folders, key=lambda folder: folder.key.seed):
        by_run.setdefault(folder.key.run, []).append(folder)
    names = [run for run in order if run in by_run] + sorted(set(by_run) - set(order))
    rows = tuple(build_row(by_run[run], by_run, first_round.get(run)) for run in names)
    return Section(scale, round, rows, tuple(run for run in order if run not in by_run))


def build_row(seeds: list[Run], by_run: dict[str, list[Run]], first_round: Row | None) -> Row:
    """One run over its seeds; `by_run` is where its parent is looked up."""
    key = seeds[0].key
    done = [folder for folder in seeds if folder.result]
    known = next((about for folder in done + seeds if (about := folder.result or folder.settings)), None)
    parent = known.parent if known else None
    before = first_round.figures if first_round else None
    return Row(
        run=key.run,
        scale=key.scale,
        round=key.round,
        title=known.title if known else "",
        level=known.level if known else None,
        parent=parent,
        seeds=tuple(folder.key.seed for folder in done),
        troubles=tuple(trouble(folder) for folder in seeds if not folder.result),
        figures=build_figures(done, by_run.get(parent or "", []), before) if done else None,
        original=original.find(key.run, key.round),
        curve=done[0].result.curve if done and done[0].result else None,
    )


def trouble(folder: Run) -> Trouble:
    """Why a run has no result."""
    if folder.fault is not None:
        return Trouble(folder.key.seed, "failed", folder.fault.error)
    step = progress(folder.path).step
    steps = folder.settings.steps if folder.settings else "?"
    return Trouble(folder.key.seed, "unfinished", f"at step {step} of {steps}")


def to_json(report: StudyReport) -> list[dict[str, Any]]:
    """The rows of report.json, by "kind": "run", "missing" (runs never started) and "baseline"."""
    rows: list[dict[str, Any]] = []
    for section in report.sections:
        rows += [row_json(row) for row in section.rows]
        if section.missing:
            rows.append(
                {"kind": "missing", "scale": section.scale, "round": section.round, "runs": list(section.missing)}
            )
    return rows + [{"kind": "baseline", "name": baseline.name, "bpb": baseline.bpb} for baseline in report.baselines]


def row_json(row: Row) -> dict[str, Any]:
    """One run's row: result.json's names where it has them; null throughout where no seed has finished."""
    value = asdict(row)
    del value["curve"]
    figures = value.pop("figures") or {field.name: None for field in fields(Figures)}
    if row.figures:
        bounds = row.figures.bpb_interval
        figures |= {"bpb_interval": [bounds.low, bounds.high], "bpb_interval_covers_seeds": bounds.seeds}
    return {"kind": "run", "state": "done" if row.figures else row.troubles[0].state} | value | figures
