"""A packed model of the ladder that has learned nothing, and trains in seconds."""

from pathlib import Path

from cpu1.model import ladder
from cpu1.model.network import build
from cpu1.runs.pack import pack_trained
from cpu1.runs.trained import Trained


def tiny_model(path: Path, run: str = "18") -> Path:
    recipe = ladder.recipe(run, "demo")
    pack_trained(Trained(build(recipe, 0).eval(), recipe, None, path.parent), {"run": run, "scale": "demo"}, path)
    return path
