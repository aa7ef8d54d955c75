"""The README's own commands and code run as printed."""

import json
import re
import shlex

import pytest
from helpers import pages
from helpers.pages import ROOT

from cpu1.cli import main
from cpu1.model.ladder import LADDER
from cpu1.runtime.default import default_model
from cpu1.runtime.model import Model

README = pages.read(pages.README)


def blocks(language: str) -> list[str]:
    return pages.blocks(README, language)


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    folder = tmp_path_factory.mktemp("readme")
    (folder / "README.md").write_text(README, encoding="utf-8")
    patch = pytest.MonkeyPatch()
    patch.chdir(folder)
    patch.setenv("CPU1_CACHE", str(folder / "cache"))
    yield folder
    patch.undo()


def test_python_api(place, capsys):
    exec(compile(blocks("python")[0], "README.md", "exec"), {})
    assert "bits per byte" in capsys.readouterr().out


@pytest.mark.parametrize("line", [line for block in blocks("sh") for line in block.splitlines()])
def test_command(place, line, capsys):
    words = shlex.split(line)
    assert words[0] == "cpu1"
    assert main(words[1:]) == 0, capsys.readouterr().err


def test_it_is_short():
    assert len(README.splitlines()) <= 160
    assert {"make demo", "make test"} <= set(re.findall(r"make \w+", "\n".join(README.splitlines()[:20])))
    before = README[: README.index("## Words")]
    assert not re.search(r"\brun[ _]?\d\d", before), "a run's number before the words are explained"


def test_the_sample_is_what_the_shipped_model_writes(capsys):
    """To the letter, lines wrapped, where the engine has the arithmetic of AVX2 or NEON."""
    found = re.search(r"^    \$ (cpu1 generate .*)\n((?:    .*\n|\n)+)", README, re.MULTILINE)
    assert found
    if Model(default_model()).arithmetic != "fma":
        pytest.skip("another arithmetic may write another text")
    assert main(shlex.split(found[1])[1:]) == 0
    assert found[2].split() == capsys.readouterr().out.split()


NUMBERS = {18: "eighteen", 19: "nineteen", 20: "twenty", 21: "twenty-one", 22: "twenty-two"}


def test_the_demo_trains_as_many_runs_as_it_says():
    assert f"trains all {NUMBERS[len(LADDER)]} runs" in README


def test_make_targets_exist():
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    for target in re.findall(r"^    make (\w+)", README, re.MULTILINE):
        assert re.search(rf"^{target}:", makefile, re.MULTILINE), target


def test_the_lead_over_llama_cpp_is_the_measured_one():
    """On every processor that was met, over both of llama.cpp's models."""
    measured = [json.loads(path.read_text()) for path in (ROOT / "results" / "bench").glob("peers-*.json")]
    leads = [peer["generate"] for found in measured for peer in found["over"].values()]
    said = f"generates {min(leads):.1f} to {max(leads):.1f} times as fast as llama.cpp"
    assert said in " ".join((ROOT / "README.md").read_text(encoding="utf-8").split())
