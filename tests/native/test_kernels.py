"""The engine's kernels, every instruction set of the machine: integers exact, rows alone and among others alike."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from cpu1.format.tensors import to_trits
from cpu1.runtime import engine

pytestmark = pytest.mark.skipif(not engine.available(), reason="installed without the native engine")
ISAS = engine.isas() if engine.available() else []
TERNARY, INT8, BF16, FP32 = range(4)
KINDS = {"ternary": TERNARY, "int8": INT8, "bf16": BF16, "fp32": FP32}
SIZES = [(1, 1), (3, 2), (16, 16), (17, 33), (40, 100), (96, 31), (130, 515), (70, 1376)]


def panel(kind: int, w: np.ndarray) -> np.ndarray:
    """w (N, K) of whole numbers (for bf16 and fp32: their values) in 64-byte groups of 16 outputs."""
    if kind == TERNARY:
        return to_trits(w.astype(np.int8)).ravel()
    each, width = {INT8: (4, np.uint8), BF16: (2, np.uint16), FP32: (1, np.uint32)}[kind]
    rows, inputs = -(-w.shape[0] // 16) * 16, -(-w.shape[1] // max(each, 2)) * max(each, 2)
    padded = np.zeros((rows, inputs), np.float32)
    padded[: w.shape[0], : w.shape[1]] = w
    if kind == INT8:
        bits = padded.astype(np.int8).view(np.uint8)
    else:
        bits = padded.view(np.uint32) >> (16 if kind == BF16 else 0)
    groups = bits.astype(width).reshape(rows // 16, 16, inputs // each, each)
    return np.ascontiguousarray(groups.transpose(0, 2, 1, 3)).view(np.uint8).ravel()


def multiply(isa: str, kind: int, w: np.ndarray, x: np.ndarray, scale: float = 1.0) -> np.ndarray:
    out = np.full((len(x), len(w)), np.nan, np.float32)
    scales = np.full(-(-len(w) // 16) * 16, scale, np.float32)
    engine.native().multiply(isa, kind, panel(kind, w), scales, x.astype(np.float32), out)
    return out


def whole_rows(rng: np.random.Generator, rows: int, inputs: int) -> np.ndarray:
    """Rows of whole numbers that quantise to themselves: their largest is 127, and their squares sum exactly."""
    x = rng.integers(-60, 61, (rows, inputs)).astype(np.float32)
    x[:, rng.integers(inputs)] = 127
    return x


@pytest.mark.parametrize("isa", ISAS)
@pytest.mark.parametrize("size", SIZES)
def test_ternary_products_are_exact(isa, size):
    rng = np.random.default_rng(sum(size))
    w, x = rng.integers(-1, 2, size), whole_rows(rng, 11, size[1])
    sums = x.astype(np.int32) @ w.T.astype(np.int32)
    mean = (x.astype(np.int64) ** 2).sum(1).astype(np.float32) / np.float32(size[1])
    scale = np.float32(1) / np.sqrt(mean + np.float32(1e-6))
    expected = sums.astype(np.float32) * scale[:, None] * np.float32(0.37)
    assert np.array_equal(multiply(isa, TERNARY, w, x, 0.37), expected)


@pytest.mark.parametrize("isa", ISAS)
@pytest.mark.parametrize("size", SIZES)
def test_int8_products_are_exact_for_inputs_of_so_many_levels(isa, size):
    rng = np.random.default_rng(sum(size))
    levels = min(32512, (2**31 - 1) // (128 * size[1]))
    w = rng.integers(-127, 128, size)
    x = rng.integers(-levels, levels + 1, (11, size[1])).astype(np.float32)
    x[:, 0] = levels
    expected = (x.astype(np.int64) @ w.T).astype(np.int32).astype(np.float32) * np.float32(0.37)
    assert np.array_equal(multiply(isa, INT8, w, x, 0.37), expected)


@pytest.mark.parametrize("isa", ISAS)
@pytest.mark.parametrize("kind", KINDS)
def test_the_largest_sums_do_not_overflow(isa, kind):
    inputs, most = 65_536, 1 if kind == "ternary" else 127
    w = np.full((2, inputs), most)
    w[1] = -most
    x = np.ones((1, inputs), np.float32)
    np.testing.assert_allclose(multiply(isa, KINDS[kind], w, x)[0], [inputs * most, -inputs * most], rtol=1e-5)


@pytest.mark.parametrize("isa", ISAS)
@pytest.mark.parametrize("kind", KINDS)
def test_a_row_does_not_depend_on_the_rows_beside_it(isa, kind):
    rng = np.random.default_rng(0)
    for rows in range(1, 35, 3):
        w = rng.integers(-1, 2, (50, 77))
        x = rng.standard_normal((rows, 77)).astype(np.float32)
        alone = np.concatenate([multiply(isa, KINDS[kind], w, row[None]) for row in x])
        assert np.array_equal(multiply(isa, KINDS[kind], w, x), alone)


@pytest.mark.parametrize("isa", ISAS)
@pytest.mark.parametrize("kind", ["bf16", "fp32", "int8"])
def test_full_precision_products_are_close(isa, kind):
    rng = np.random.default_rng(0)
    w, x = rng.integers(-127, 128, (33, 300)), rng.standard_normal((5, 300)).astype(np.float32)
    expected = x.astype(np.float64) @ w.T
    error = np.abs(multiply(isa, KINDS[kind], w, x) - expected).max() / np.abs(expected).max()
    assert error < (2e-4 if kind == "int8" else 2e-6)


@pytest.mark.parametrize("isa", ISAS)
def test_rows_without_direction_and_rows_that_are_not_finite(isa):
    w = np.ones((4, 20))
    x = np.zeros((4, 20), np.float32)
    x[1], x[2, 3], x[3, 3] = 1e-35, np.nan, np.inf
    for kind in (TERNARY, INT8):
        y = multiply(isa, kind, w, x)
        assert (y[:2] == 0).all()
        assert np.isnan(y[2:]).all()


@pytest.mark.parametrize("isa", ISAS)
def test_the_environment_forces_an_instruction_set(isa, tmp_path):
    from helpers.packing import packed_run

    path = packed_run("04", tmp_path).path
    assert run_with(isa, path).strip() == isa


def test_an_unknown_instruction_set_is_refused(tmp_path):
    from helpers.packing import packed_run

    path = packed_run("04", tmp_path).path
    assert "CPU1_ISA: no instruction set 'mmx' on this machine; it has" in run_with("mmx", path)


def run_with(isa: str, path: Path) -> str:
    """What a fresh process says of the engine's instruction set, or why it refuses."""
    code = (
        "import sys\nfrom cpu1.runtime.engine import NativeFile\n"
        "try: print(NativeFile(sys.argv[1]).isa)\nexcept ValueError as error: print(error)"
    )
    words = [sys.executable, "-c", code, str(path)]
    return subprocess.run(words, env={**os.environ, "CPU1_ISA": isa}, capture_output=True, text=True, check=True).stdout


@pytest.mark.slow
def test_neon_under_an_emulator(aarch64):
    emulator, folder = aarch64
    run = subprocess.run([emulator, folder / "test_kernels"], capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stdout + run.stderr
    assert run.stdout.split("\n")[:3] == ["neon ok", "armv8 ok", "portable ok"]


@pytest.mark.slow
def test_a_processor_without_dot_products_uses_plain_neon(aarch64):
    emulator, folder = aarch64
    run = subprocess.run(
        [emulator, "-cpu", "cortex-a72", folder / "test_kernels"], capture_output=True, text=True, check=True
    )
    assert run.stdout.split("\n")[:2] == ["armv8 ok", "portable ok"]
