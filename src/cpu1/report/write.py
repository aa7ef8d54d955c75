"""The card on disk: JSON for programs, Markdown for reading, one HTML page with plots."""

import json
from collections.abc import Sequence
from pathlib import Path

from cpu1.errors import UserError
from cpu1.files import write_atomic
from cpu1.report.render.html import page
from cpu1.report.render.markdown import markdown
from cpu1.report.report import Card, build_card, to_json


def write_card(study: Path, out: Path | None = None, order: Sequence[str] | None = None) -> Card:
    """Writes card.json, card.md and card.html into `out` (by default the study's folder); returns the card.

    UserError for a study that is a gathered file, where `out` names no folder.
    """
    if out is None and study.is_file():
        raise UserError(f"{study}: is a file; name a folder for the card with --out")
    card = build_card(study, order)
    out = out or study
    write_atomic(out / "card.json", json_text(card))
    write_atomic(out / "card.md", markdown(card))
    write_atomic(out / "card.html", page(card))
    return card


def json_text(card: Card) -> str:
    """The text of card.json: a row a line."""
    lines = (json.dumps(row, ensure_ascii=False, allow_nan=False) for row in to_json(card))
    return "[\n" + ",\n".join(lines) + "\n]\n"
