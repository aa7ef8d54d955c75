"""Real prose for tests that every machine has: the standard library's documentation topics."""

from pathlib import Path
from pydoc_data.topics import topics


def write_text(folder: Path, documents: int = 40) -> Path:
    """A text file of separate documents, about 200 KB."""
    chosen = sorted((text for text in topics.values() if len(text) > 800), key=len)[:documents]
    path = folder / "topics.txt"
    path.write_text("\n\f\n".join(chosen), encoding="utf-8")
    return path
