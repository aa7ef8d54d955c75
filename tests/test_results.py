"""What is committed is current: every table and card follows from the committed results."""

import subprocess
import sys
from pathlib import Path

import pytest

from cpu1.study.card import build_card

ROOT = Path(__file__).parent.parent
STUDIES = sorted(path.parent for path in (ROOT / "results").glob("*/study.json"))


def test_tables_and_cards_are_current():
    done = subprocess.run([sys.executable, "docs/tables.py", "--check"], cwd=ROOT, capture_output=True, check=False)
    assert done.returncode == 0, done.stdout.decode() + done.stderr.decode()


@pytest.mark.parametrize("study", STUDIES, ids=lambda path: path.name)
def test_every_committed_run_learned(study):
    rows = build_card(study).rows
    assert rows
    for row in rows:
        assert row.figures, f"run {row.run} has no result"
        assert row.figures.nonfinite_steps == 0
        assert row.figures.frequency_bpb - row.figures.bpb >= 0.7, f"run {row.run} hardly learned"
