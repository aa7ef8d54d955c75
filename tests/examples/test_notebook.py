"""The notebook in examples/: it runs from the first cell to the last, and what it shows is kept small."""

import json
from pathlib import Path

import pytest

NOTEBOOK = Path(__file__).parents[2] / "examples" / "ablation.ipynb"
MOST_BYTES = 120_000  # with the figure in it


@pytest.mark.slow
def test_it_runs(tmp_path, monkeypatch):
    """With little text; its own amount takes two minutes."""
    nbformat = pytest.importorskip("nbformat", reason="needs nbclient: pip install -e '.[site]'")
    nbclient = pytest.importorskip("nbclient", reason="needs nbclient: pip install -e '.[site]'")
    pytest.importorskip("ipykernel", reason="needs ipykernel: pip install -e '.[site]'")
    monkeypatch.setenv("CPU1_NOTEBOOK_BYTES", "64000")
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    nbclient.NotebookClient(
        notebook, timeout=300, kernel_name="python3", resources={"metadata": {"path": str(tmp_path)}}
    ).execute()
    shown = [output for cell in notebook.cells for output in cell.get("outputs", ())]
    assert [output.output_type for output in shown if "error" in output.output_type] == []
    assert sum("bits per byte" in line for output in shown for line in output.get("text", "").splitlines()) == 4
    assert sum("image/png" in output.get("data", {}) for output in shown) == 1


def test_what_is_committed_shows_its_results():
    """Strangers see the figure without running anything; `make notebook` writes it."""
    assert NOTEBOOK.stat().st_size < MOST_BYTES
    cells = json.loads(NOTEBOOK.read_text(encoding="utf-8"))["cells"]
    code = [cell for cell in cells if cell["cell_type"] == "code"]
    assert [cell["execution_count"] for cell in code] == list(range(1, len(code) + 1))
    assert any("image/png" in output.get("data", {}) for cell in code for output in cell["outputs"])
