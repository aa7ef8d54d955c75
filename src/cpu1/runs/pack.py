"""A trained run as one packed file."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from cpu1.errors import UserError
from cpu1.files import apart
from cpu1.format.packed import UNPACKED, pack
from cpu1.model.lower import lower
from cpu1.records import read
from cpu1.runs.trained import Trained, load

PACKED = ".cpu1"
RUN_KEYS = ("run", "title", "scale", "round", "seed", "bpb")  # of a result, carried in the packed file


def pack_run(folder: str | Path, path: str | Path, dense: str = "int8") -> int:
    """Packs the trained model of a run folder into one file; returns its size in bytes.

    UserError for bad input, and for a `path` that is one of the run's own files, but for the model packed before.
    """
    apart(Path(path), (file for file in Path(folder).rglob("*") if file.suffix != PACKED))
    files = (Path(folder) / name for name in ("result.json", UNPACKED))
    about = next((read(dict[str, Any], file) for file in files if file.exists()), {})
    return pack_trained(load(folder), about, path, dense)


def pack_trained(trained: Trained, about: Mapping[str, Any], path: str | Path, dense: str = "int8") -> int:
    """Packs a trained model, with the `RUN_KEYS` of what is known `about` its run; returns the file's size."""
    program, tensors = lower(trained.model)
    tokenizer = (trained.folder / "tokenizer.json").read_bytes() if trained.tokenizer else None
    # What distillation trained is the same model as any other.
    recipe = trained.recipe.replace(distill=None).to_json()
    run = {key: about[key] for key in RUN_KEYS if key in about}
    try:
        return pack(program, tensors, path, dense, recipe=recipe, run=run, tokenizer=tokenizer)
    except ValueError as error:
        raise UserError(f"{trained.folder}: {error}") from None
