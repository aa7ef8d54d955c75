"""Trained runs by size of file and speed: `python bench/equal_file.py RUN_FOLDER... [--json]`.

    cpu1 train 04 --scale nano --with width=384 --out runs/wide ...
    python bench/equal_file.py runs/04 runs/wide runs/17 runs/18

Bits per byte of windows and of documents on each run's own held-out text, the packed file, and generation speed: all
generate in turn in this process, one thread, medians. So a claim for an ingredient is not bought with bytes or time.
"""

import argparse
import json
import sys
from pathlib import Path
from typing import Any

from cpu1.errors import UserError
from cpu1.evaluation.speed import measure
from cpu1.files import read_json
from cpu1.model import ladder
from cpu1.model.recipe import Recipe, differences


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folders", nargs="+", type=Path, metavar="RUN_FOLDER")
    parser.add_argument("--json", action="store_true")
    args = parser.parse_args()
    try:
        measure(args.folders)
        rows = [row(folder) for folder in args.folders]
    except UserError as error:
        print(f"bench/equal_file.py: {error}", file=sys.stderr)
        return 2
    if args.json:
        print(json.dumps({"rows": rows}, indent=1))
        return 0
    print("run      file  windows  documents  bytes a second  changes")
    for each in rows:
        told = " ".join(f"{name}={value}" for name, value in each["changes"].items())
        print(
            f"{each['run']:3}{each['file_bytes']:10,}{each['window_bpb']:9.4f}"
            f"{each['document_bpb']:11.4f}{each['bytes_per_s']:16,.0f}  {told}"
        )
    return 0


def row(folder: Path) -> dict[str, Any]:
    """The figures of a run, and the fields of its recipe that are not those of its rung."""
    result, recipe, speed = (read_json(folder / f"{name}.json") for name in ("result", "recipe", "speed"))
    kept = ("run", "scale", "round", "seed", "params", "file_bytes", "bytes_seen", "window_bpb", "document_bpb")
    own = changes(Recipe.from_json(recipe), ladder.recipe(result["run"], result["scale"]))
    return {name: result[name] for name in kept} | {"changes": own, "bytes_per_s": speed["bytes_per_s"]}


def changes(recipe: Recipe, rung: Recipe) -> dict[str, Any]:
    """What a recipe has that its rung has not, by the names that `--with` takes."""
    fields, usual = recipe.to_json(), rung.to_json()
    own: dict[str, Any] = {}
    for part in differences(recipe, rung):
        new, old = fields[part], usual[part]
        if isinstance(new, dict) and isinstance(old, dict) and new["kind"] == old["kind"]:
            own |= {f"{part}.{name}": value for name, value in new.items() if value != old[name]}
        else:
            own[part] = new["kind"] if isinstance(new, dict) else new
    return own


if __name__ == "__main__":
    sys.exit(main())
