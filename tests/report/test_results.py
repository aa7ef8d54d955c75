"""What is committed is current: every table and report follows from the committed results."""

import subprocess
import sys
from pathlib import Path

import pytest

from cpu1.report.report import build_report
from cpu1.runs.studies import load_runs

ROOT = Path(__file__).parents[2]
ORIGINAL_BEST = 3.10  # bits per byte: the lowest of a ternary byte-level run on the original's card
STUDIES = sorted((ROOT / "results").glob("*.jsonl"))


def test_tables_and_reports_are_current():
    done = subprocess.run([sys.executable, "docs/update.py", "--check"], cwd=ROOT, capture_output=True, check=False)
    assert done.returncode == 0, done.stdout.decode() + done.stderr.decode()


@pytest.mark.parametrize("study", STUDIES, ids=lambda path: path.stem)
def test_every_committed_run_learned(study):
    rows = build_report(study).rows
    assert rows
    for row in rows:
        assert row.figures, f"run {row.run} has no result"
        assert row.figures.nonfinite_steps == 0
        assert row.figures.frequency_bpb - row.figures.bpb >= 0.7, f"run {row.run} hardly learned"


def test_ternary_on_bytes_is_below_the_originals_best_at_its_scales():
    reached = {}
    for run in (run for study in STUDIES for run in load_runs(study)):
        if run.result and run.result.scale in ("small", "base") and run.result.level == "byte" and run.result.ternary:
            reached[run.key.folder] = run.result.bpb
    assert {name[:2] for name in reached} >= {"04", "07", "10", "14", "15", "16"}
    assert max(reached.values()) < ORIGINAL_BEST, reached


def test_the_default_model_reads_texts_of_others():
    (found,) = (run.held_out for run in load_runs(ROOT / "results" / "small-r3.jsonl"))
    assert found["wikitext2"].bpb < 1.80
    assert found["en-books"].bpb < 1.60
    report = (ROOT / "checkpoints" / "default.md").read_text()
    for name in ("wikitext2", "en-books"):
        assert f"bits per byte of {name}, 95% | {found[name].bpb:.3f}" in report
