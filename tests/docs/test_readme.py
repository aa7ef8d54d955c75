"""The README's own commands and code run as printed."""

import re
import shlex
import sys

import pytest
from helpers import pages
from helpers.pages import ROOT

from cpu1.cli import main
from cpu1.model import ladder
from cpu1.model.network import build
from cpu1.runtime.default import default_model
from cpu1.runtime.model import PackedModel

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


def test_the_worked_ingredient(place):
    """The example is an ingredient: it stands in a recipe, survives JSON, and builds with dense and ternary weights."""
    (place / "squared_relu.py").write_text(blocks("python")[1], encoding="utf-8")
    sys.path.insert(0, str(place))
    try:
        import squared_relu
    finally:
        sys.path.remove(str(place))
    for run in ("03", "07"):
        recipe = ladder.recipe(run, "demo").replace(ffn=squared_relu.SquaredReLU())
        assert type(recipe).from_json(recipe.to_json()) == recipe
        model = build(recipe)
        assert model.blocks[0].ffn.input.weight.shape == (512, 128)


def test_the_map_of_folders_is_true():
    listed = re.search(r"## Where things are\n(.*?)\n## ", README, re.DOTALL)
    assert listed
    for name in re.findall(r"^      (\w[\w./]*)", listed[1], re.MULTILINE):
        assert (ROOT / "src" / "cpu1" / name).exists(), name
    for name in re.findall(r"^    (\w[\w./]*)", listed[1], re.MULTILINE):
        assert (ROOT / name).exists(), name


def test_the_sample_is_what_the_shipped_model_writes(capsys):
    """To the letter, lines wrapped, where the engine has the arithmetic of AVX2 or NEON."""
    found = re.search(r"^    \$ (cpu1 generate .*)\n((?:    .*\n|\n)+)", README, re.MULTILINE)
    assert found
    if PackedModel(default_model()).arithmetic != "fma":
        pytest.skip("another arithmetic may write another text")
    assert main(shlex.split(found[1])[1:]) == 0
    assert found[2].split() == capsys.readouterr().out.split()


def test_make_targets_exist():
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    for target in re.findall(r"make (\w+)", README):
        assert re.search(rf"^{target}:", makefile, re.MULTILINE), target
