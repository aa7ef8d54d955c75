"""The workflows in .github/: actionlint finds nothing. `make actionlint` installs it."""

import shutil

import pytest
from helpers.pages import ROOT
from workflows import PROGRAM, findings

needs_actionlint = pytest.mark.skipif(
    not shutil.which("node") or not PROGRAM.exists(), reason="needs Node.js and `make actionlint`"
)


@needs_actionlint
def test_nothing_is_wrong():
    assert findings(ROOT / ".github" / "workflows") == []


@needs_actionlint
def test_what_is_wrong_would_be_found(tmp_path):
    text = (ROOT / ".github" / "workflows" / "library.yml").read_text(encoding="utf-8")
    (tmp_path / "one.yml").write_text(text.replace("uses:", "use:", 1), encoding="utf-8")
    found = findings(tmp_path)
    assert found
    assert all("one.yml" in line for line in found)
