"""Codes made by earlier builds: whoever changes a bit of what the kernels compute makes archives unreadable.

If a test here fails, and the change is meant: `VERSION` in cpu1/runtime/archive.py must be another, and these digests.
"""

import hashlib
import subprocess
from pathlib import Path

import numpy as np
import pytest
from helpers.packing import packed_run

from cpu1.format.packed import Ternary, pack
from cpu1.format.program import Program
from cpu1.runtime import archive, engine
from cpu1.runtime.engine import NativeFile
from cpu1.runtime.model import Model
from cpu1.runtime.streams import NativeStream

D, W = 64, 32  # width, width of the decoder
PROGRAM = {
    "level": "byte",
    "patch": 4,
    "vocabulary": 256,
    "width": D,
    "registers": {"x": D, "y": D, "z": D, "fcg": 3 * D, "s": D},
    "states": {"h": D, "m": D},
    "embed": [{"op": "embed_bytes", "out": ["x", 0, D], "table": "bytes", "start": "first", "taps": "taps"}],
    "trunk": [
        {"op": "delete_gate", "in": ["x", 0, D], "up": "g.up", "up_bias": "g.b", "down": "g.down", "down_bias": "g.c",
         "skip_to": 5},
        {"op": "ternary_linear", "in": ["x", 0, D], "out": ["fcg", 0, 3 * D], "parts": [D, D, D], "weight": "fcg"},
        {"op": "gate_scan", "in": ["fcg", 0, 2 * D], "out": ["y", 0, D], "state": "h"},
        {"op": "silu_mul", "a": ["fcg", 2 * D, D], "b": ["y", 0, D], "out": ["z", 0, D]},
        {"op": "dense_linear", "in": ["z", 0, D], "out": ["x", 0, D], "weight": "w", "activation": "relu2",
         "accumulate": True},
        {"op": "leaky_scan", "in": ["x", 0, D], "out": ["y", 0, D], "decay": "decay", "state": "m"},
        {"op": "add", "in": ["y", 0, D], "out": ["x", 0, D]},
        {"op": "rms_norm", "in": ["x", 0, D], "out": ["s", 0, D]},
    ],
    "head": [{"op": "local_decode", "in": ["s", 0, D], "slots": "slots", "back": "back", "up": "up", "up_bias": "b",
              "down": "down", "down_bias": "c", "output": "out", "output_bias": "common"}],
}  # fmt: skip
SHAPES = {
    "bytes": (256, D // 4), "first": (D,), "taps": (4, D // 4), "g.up": (8, D), "g.b": (8,), "g.down": (1, 8),
    "g.c": (1,), "w": (D, D), "decay": (D,), "slots": (4 * W, D), "back": (3, 256, W), "up": (W, W), "b": (W,),
    "down": (W, W), "c": (W,), "out": (256, W), "common": (256,),
}  # fmt: skip
TEXT = b"".join(b"Line %d of a text whose code is remembered: %d.\n" % (i, i * i) for i in range(40))
DIGESTS = {"fma": "14f716186659e4f8", "plain": "967ffc9daa8c515c"}
LEARNED = {"fma": "e8df0726754210a2", "plain": "c7f6b03a341d1aab"}  # of a model that learns from the text


def steps(seed: int, shape: tuple[int, ...]) -> np.ndarray:
    """Whole numbers from -64 to 64 that no library decides."""
    mixed = (np.arange(np.prod(shape), dtype=np.uint64) + np.uint64(seed << 20)) * np.uint64(0x9E3779B97F4A7C15)
    return ((mixed >> np.uint64(33)) % np.uint64(129)).astype(np.int64).reshape(shape) - 64


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    """A byte model of nearly every operation; `attend` turns by the C library's cosine."""
    tensors = {name: (steps(seed, shape) / 256).astype(np.float32) for seed, (name, shape) in enumerate(SHAPES.items())}
    tensors["decay"] = (np.abs(tensors["decay"]) + 0.5).astype(np.float32)
    tensors["common"][list(TEXT)] += 4
    w = (np.abs(steps(99, (3 * D, D))) % 3 - 1).astype(np.int8)
    scale = np.array([0.125, 0.25, 0.5], np.float32)
    path = tmp_path_factory.mktemp("golden") / "model.cpu1"
    pack(Program.from_json(PROGRAM), {**tensors, "fcg": Ternary(w, scale, (D, D, D))}, path, recipe={})
    return path


@pytest.mark.parametrize(("learn", "digests"), [(False, DIGESTS), (True, LEARNED)])
@pytest.mark.parametrize("isa", engine.isas() if engine.available() else [])
def test_a_code_is_the_one_remembered(model, isa, learn, digests, monkeypatch):
    monkeypatch.setenv("CPU1_ISA", isa)
    made = archive.compress(TEXT, Model(model), learn=learn)
    blocks = archive.Archive.read(made).blocks
    assert blocks[0].units == len(TEXT)
    assert hashlib.sha256(blocks[0].code).hexdigest()[:16] == digests[engine.arithmetic(isa)]
    assert archive.decompress(made, model) == TEXT


@pytest.mark.slow
@pytest.mark.skipif(not engine.available(), reason="installed without the native engine")
def test_another_processor_makes_the_same_codes(model, tmp_path, aarch64):
    """aarch64 under an emulator, all its sets: the code remembered, and those of models with attention here."""
    emulator, folder = aarch64
    text = tmp_path / "text"

    def there(path: Path, isa: str) -> bytes:
        words = [emulator, folder / "code", path, text, isa]
        return subprocess.run(words, capture_output=True, check=True).stdout

    text.write_bytes(TEXT)
    elsewhere = {"neon": "fma", "armv8": "fma", "portable": "plain"}
    for isa, arithmetic in elsewhere.items():
        assert hashlib.sha256(there(model, isa)).hexdigest()[:16] == DIGESTS[arithmetic]
    text.write_bytes(TEXT[:300])
    for run in ("02", "08"):
        path = packed_run(run, tmp_path, "int8").path
        here = {engine.arithmetic(isa): isa for isa in engine.isas()}
        for isa, arithmetic in elsewhere.items():
            encoder = NativeStream(NativeFile(path, here[arithmetic])).encoder()
            encoder.put(TEXT[:300])
            assert there(path, isa) == encoder.finish()
