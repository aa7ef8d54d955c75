"""The README's ingredient and rung, added to a copy of the source exactly as it says, through the whole lab."""

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from helpers.ingredient import CODE, LINE, STEPS
from helpers.pages import README, ROOT

import cpu1
from cpu1.runtime import engine

# The installation may find the package by a hook of its own; in the copy, only the copy counts.
ONLY_THE_COPY = """
import sys
sys.meta_path[:] = [finder for finder in sys.meta_path if finder.__module__.startswith("_frozen_importlib")]
"""


@pytest.fixture(scope="module")
def copy(tmp_path_factory):
    """A folder with the changed source in `src`, whose environment is returned as well."""
    folder = tmp_path_factory.mktemp("extended")
    shutil.copytree(ROOT / "src", folder / "src", ignore=shutil.ignore_patterns("__pycache__"))
    for module in native_modules():
        shutil.copy(module, folder / "src" / "cpu1")
    (folder / "sitecustomize.py").write_text(ONLY_THE_COPY)
    assert STEPS
    assert LINE
    module, name = Path(STEPS["folder"], STEPS["file"]), STEPS["name"]
    (folder / module).write_text(CODE)
    imported = f"from cpu1.model.ingredients.{module.stem} import {name}\n"
    ladder = folder / "src/cpu1/model/ladder.py"
    for path in (folder / module.with_name("__init__.py"), ladder):
        path.write_text(path.read_text().replace("\nfrom cpu1.", f"\n{imported}from cpu1.", 1))
    ladder.write_text(f"{ladder.read_text()}\n{LINE[1]}\n")
    environment = {**os.environ, "PYTHONPATH": f"{folder}:{folder / 'src'}", "CPU1_CACHE": str(folder / "cache")}
    return folder, environment


def native_modules() -> list[Path]:
    """The compiled parts, wherever the installation has them."""
    if not engine.available():
        return []
    return list(Path(engine.native().__file__).parent.glob("*.so"))


def run(copy, *words, code=None):
    folder, environment = copy
    command = [sys.executable, *(("-c", code) if code else ("-m", "cpu1")), *words]
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_the_copy_is_what_runs(copy):
    where = run(copy, code="import cpu1; print(cpu1.__file__)")
    assert Path(where.strip()) == copy[0] / "src/cpu1/__init__.py"
    assert Path(cpu1.__file__) != Path(where.strip())


def test_the_ladder_shows_the_rung_and_its_change(copy):
    rows = {row["run"]: row for row in json.loads(run(copy, "ladder", "--json"))}
    assert rows["20"]["parent"] == "07"
    assert list(rows["20"]["changes"]) == ["ffn"]
    sizes = {row["run"]: row for row in json.loads(run(copy, "ladder", "--params", "--json"))}
    assert sizes["20"]["same"] is None
    assert sizes["20"]["params"] > 0
    assert "self-gated" in run(copy, "ladder")


@pytest.mark.slow
def test_a_study_trains_it_packs_it_and_reports_the_difference(copy):
    study = ["study", "--runs", "07,20", "--seeds", "1", "--scale", "demo", "--bytes", "40k", "--out", "study"]
    run(copy, *study, "--data", str(README), "--eval-bytes", "2k")
    report = (copy[0] / "study/report.md").read_text()
    assert re.search(r"\| 20 +\|.*self-gated", report)
    assert json.loads(run(copy, "compare", "study", "20", "07", "--json"))
    packed = copy[0] / "study/20-demo-custom-s0/model.cpu1"
    text = run(copy, "generate", "-m", str(packed), "--max-bytes", "20", "--seed", "0", "The ")
    assert text.strip()


@pytest.mark.slow
def test_the_engine_computes_what_training_computes(copy):
    """Bits per byte by the torch network and by the packed file, on the same bytes."""
    code = f"""
import json, torch
from cpu1.model import ladder
from cpu1.model.network import build
from cpu1.model.lower import lower
from cpu1.format.packed import pack
from cpu1.runtime.model import Model
recipe = ladder.recipe("20", "demo")
model = build(recipe).eval()
pack(*lower(model), "own.cpu1", recipe=recipe.to_json())
text = open({str(README)!r}, "rb").read()[:512]
with torch.no_grad():
    logits = model(torch.tensor([list(text)]), hard=True).logits[0].log_softmax(-1)
bits = -logits.gather(1, torch.tensor(list(text))[:, None]).mean() / torch.log(torch.tensor(2.0))
print(json.dumps([float(bits), float(Model("own.cpu1").score(text).mean())]))
"""
    trained, deployed = json.loads(run(copy, code=code))
    assert deployed == pytest.approx(trained, abs=0.02)  # embedding and head are packed in 8 bits
