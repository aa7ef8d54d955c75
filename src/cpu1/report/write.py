"""The report on disk: JSON for programs, Markdown for reading, one HTML page with plots."""

import json
from collections.abc import Sequence
from pathlib import Path

from cpu1.errors import UserError
from cpu1.files import apart, write_atomic
from cpu1.report.render.html import page
from cpu1.report.render.markdown import markdown
from cpu1.report.report import StudyReport, build_report, to_json

FILES = ("report.json", "report.md", "report.html")


def write_report(study: Path, out: Path | None = None, order: Sequence[str] | None = None) -> StudyReport:
    """Writes report.json, report.md and report.html into `out` (by default the study's folder); returns the report.

    UserError for a study that is a gathered file, where `out` names no folder, and for one that they would replace.
    """
    if out is None and study.is_file():
        raise UserError(f"{study}: is a file; name a folder for the report with --out")
    out = out or study
    for name in FILES:
        apart(out / name, [study])
    report = build_report(study, order)
    for name, text in zip(FILES, (json_text(report), markdown(report), page(report)), strict=True):
        write_atomic(out / name, text)
    return report


def json_text(report: StudyReport) -> str:
    """The text of report.json: a row a line."""
    lines = (json.dumps(row, ensure_ascii=False, allow_nan=False) for row in to_json(report))
    return "[\n" + ",\n".join(lines) + "\n]\n"
