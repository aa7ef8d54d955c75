"""The committed results: the only file here that knows how they are stored."""

from dataclasses import dataclass
from functools import cache, cached_property
from pathlib import Path
from typing import Any

from cpu1.files import read_json
from cpu1.report.comparison import Line, compare_runs
from cpu1.report.report import StudyReport, build_report
from cpu1.runs.folders import Run
from cpu1.runs.studies import load_runs

ROOT = Path(__file__).resolve().parents[2]
RESULTS = ROOT / "results"


@dataclass(frozen=True)
class Study:
    """A study in results/, gathered into one file. Everything is read when it is first asked for."""

    path: Path

    @cached_property
    def runs(self) -> list[Run]:
        """The finished runs, by name."""
        return [run for run in load_runs(self.path) if run.result]

    @cached_property
    def report(self) -> StudyReport:
        return build_report(self.path)

    @cached_property
    def language(self) -> dict[str, Any]:
        """What `cpu1 check` measured of the runs, by the name of their folder."""
        return {run.key.folder: run.language for run in self.runs if run.language}

    def compare(self, first: str, second: str) -> list[Line]:
        """Two runs on every text; nothing where the study lacks one of them."""
        return compare_runs(self.path, first, second) if {first, second} <= {run.key.run for run in self.runs} else []


@cache
def load(study: str) -> Study:
    return Study(RESULTS / f"{study}.jsonl")


def studies() -> list[str]:
    """The names of all studies, which have a report each."""
    return sorted(path.stem for path in RESULTS.glob("*.jsonl"))


def sweep(name: str) -> dict[str, Any]:
    """The table of a sweep."""
    return read_json(RESULTS / f"{name}.json")


def bench(name: str) -> dict[str, Any]:
    """What a benchmark measured: the JSON that it wrote."""
    return read_json(RESULTS / "bench" / f"{name}.json")


def benches(prefix: str) -> list[dict[str, Any]]:
    """All benchmarks whose name begins so, by name."""
    return [bench(path.stem) for path in sorted((RESULTS / "bench").glob(f"{prefix}-*.json"))]
