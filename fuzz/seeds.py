"""Writes the corpora again: tiny models of every kind, and a file of each other kind: `python fuzz/seeds.py`.

Weights are random and the same in each run. What a fuzzer finds joins a corpus by hand, as a file of its own.
"""

import json
import sys
from dataclasses import replace
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "tests"))

from helpers.packing import pack_model, randomised  # noqa: E402

import cpu1  # noqa: E402
from cpu1.data.bpe import FORMAT  # noqa: E402
from cpu1.files import write_atomic, write_json  # noqa: E402
from cpu1.model import ladder  # noqa: E402
from cpu1.model.ingredients import DocumentMemory  # noqa: E402
from cpu1.model.ladder import Scale  # noqa: E402
from cpu1.runs.settings import Settings  # noqa: E402
from cpu1.runtime import adapter, archive  # noqa: E402

CORPUS = Path(__file__).parent / "corpus"
TINY = Scale(8, 2, (8, 8), 1 / 64, 8, 256, 64, 1e-3, 16)
RUNS = ("02a", "08", "10", "18", "19")  # every operation between them
TEXT = b"a memory of the document: a memory of the document"


def packed() -> None:
    """Models of two to ten kilobytes, and their programs."""
    for run in RUNS:
        recipe = ladder.scaled(ladder.recipe(run), TINY)
        if isinstance(recipe.recall, DocumentMemory):  # so that a state is small
            recipe = recipe.replace(recall=replace(recipe.recall, slots=16, history=256))
        pair = pack_model(randomised(recipe), CORPUS / "packed" / f"{run}.cpu1", "int8")
        write_json(CORPUS / "program" / f"{run}.json", pair.packed.program.to_json())
        write_json(CORPUS / "recipe" / f"{run}.json", recipe.to_json())


def readers() -> None:
    """An archive of each version, an adapter, settings."""
    path = CORPUS / "packed" / "18.cpu1"
    model = cpu1.load(path)
    for folder in ("archive", "adapter", "state", "settings", "tokenizer", "program", "recipe"):
        (CORPUS / folder).mkdir(exist_ok=True)
    for name, learn, block in (("frozen", False, None), ("learned", True, None), ("blocks", True, 16)):
        write_atomic(CORPUS / "archive" / f"{name}.cpz", archive.compress(TEXT, model, block, learn=learn))
    learning = cpu1.load(path, learn=True)
    learning.prime(TEXT.decode())
    adapter.write(learning, CORPUS / "adapter" / "notes.cpa")
    settings = Settings("run_18", "18", None, "byte", "demo", "r1", 0, "text", "text.txt", "0" * 64, 9, 8, 1024, 3e-3)
    write_json(CORPUS / "settings" / "settings.json", settings.to_json())
    merges = [[104, 101], [257, 108], [116, 104]]
    write_json(CORPUS / "tokenizer" / "tokenizer.json", {"format": FORMAT, "vocabulary": 300, "merges": merges})
    write_atomic(CORPUS / "state" / "read", bytes([1, len(TEXT)]) + TEXT + bytes([40, 0, 0, 0, 2, 7, 9]))
    write_atomic(CORPUS / "state" / "cut", bytes([2, 5]) + TEXT[:5] + bytes([99, 1, 0, 0, 9]))


if __name__ == "__main__":
    packed()
    readers()
    print(json.dumps({folder.name: sum(f.stat().st_size for f in folder.iterdir()) for folder in CORPUS.iterdir()}))
