"""bench/chaos.py: what it compares, and a small run of it."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import chaos
import pytest
from helpers.pages import ROOT
from helpers.study_folders import make_run, write
from helpers.text import write_text


def studies(tmp_path: Path) -> tuple[Path, Path]:
    """Two equal studies, of which the second took longer."""
    for name in ("calm", "struck"):
        folder = make_run(tmp_path / name, "04")
        for file in (*chaos.MODELS, "recipe.json"):
            write(folder / file, {})
        result = json.loads((folder / "result.json").read_text())
        seconds = 31.0 if name == "calm" else 50.0
        write(folder / "result.json", {**result, "train": {"seconds": seconds, "bytes_per_s": 1000.0}})
    return tmp_path / "calm", tmp_path / "struck"


@pytest.mark.parametrize("name", ["model.safetensors", "model.cpu1", "documents.json"])
def test_a_difference_is_found_and_a_clock_is_none(tmp_path: Path, name: str) -> None:
    calm, struck = studies(tmp_path)
    assert chaos.differences(calm, struck) == []
    path = struck / "04-demo-r1-s0" / name
    path.write_bytes(path.read_bytes() + b" ")
    assert chaos.differences(calm, struck) == [f"04-demo-r1-s0/{name}"]
    shutil.rmtree(path.parent)
    assert f"04-demo-r1-s0/{name}" in chaos.differences(calm, struck)


@pytest.mark.slow
def test_a_struck_study_ends_as_one_in_peace(tmp_path: Path) -> None:
    program = [sys.executable, str(ROOT / "bench/chaos.py"), "--data", str(write_text(tmp_path)), "--runs", "04"]
    sizes = ["--bytes", "20k", "--eval-bytes", "2k", "--set", "window=256", "--set", "batch=2", "--pause", "0.5"]
    out = tmp_path / "chaos.json"
    subprocess.run([*program, *sizes, "--trials", "1", "--strikes", "3", "--json", str(out)], check=True, timeout=500)
    (trial,) = json.loads(out.read_text())["trials"]
    assert trial["differs"] == []
    assert trial["ended"][-1] == 0
