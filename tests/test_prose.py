"""Words that read like a translation stay out of what strangers read: pages, help, messages, comments."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
CALQUES = re.compile(
    r"\bis to be had\b|\bat hand\b|\bsays what\b|\banew\b|\btells\b|\bin place of\b|\bstands (?!for\b)"
    r"|\bgo(?:es)? on from\b"
)
READ = [
    *(ROOT / name for name in ("README.md", "CONTRIBUTING.md", "CHANGELOG.md", "Makefile")),
    *(path for folder in ("docs", "src", "bench", "examples", "native") for path in (ROOT / folder).rglob("*")),
]
SUFFIXES = {".md", ".py", ".sh", ".c", ".h", ".cpp", ".inl", ".txt", ".cmake", ""}


@pytest.mark.parametrize(
    "path",
    [path for path in READ if path.is_file() and path.suffix in SUFFIXES],
    ids=lambda path: str(path.relative_to(ROOT)),
)
def test_plain_english(path: Path) -> None:
    lines = path.read_text(encoding="utf-8").splitlines()
    assert [line for line in lines if CALQUES.search(line)] == []
