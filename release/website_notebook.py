"""A notebook as a page of Markdown, with its figures beside it."""

import base64
import json
from pathlib import Path
from typing import Any


def markdown(notebook: Path, target: Path) -> str:
    """The text of the page; `target` names the figures, which are written."""
    cells = json.loads(notebook.read_text(encoding="utf-8"))["cells"]
    parts = []
    for number, cell in enumerate(cells):
        source = "".join(cell["source"])
        parts.append(source if cell["cell_type"] == "markdown" else f"```python\n{source}\n```")
        for output in cell.get("outputs", ()):
            parts.append(shown(output, target.with_name(f"{target.stem}-{number}.png")))
    return "\n\n".join(part for part in parts if part) + "\n"


def shown(output: dict[str, Any], figure: Path) -> str:
    """What a cell gave: a figure, else its text."""
    data = output.get("data", {})
    if "image/png" in data:
        figure.write_bytes(base64.b64decode(data["image/png"]))
        return f"![{figure.stem}]({figure.name})"
    text = "".join(output.get("text", data.get("text/plain", ()))).rstrip()
    return f"```text\n{text}\n```" if text else ""
