"""Arithmetic coding: what goes in comes out, in the engine as in Python; who may share codes."""

import argparse
import math
from pathlib import Path

import numpy as np
import pytest
from helpers.packing import Pair, packed_run, some_units
from hypothesis import given, settings
from hypothesis import strategies as st

from cpu1.format.packed import open_packed
from cpu1.runtime import coder, engine
from cpu1.runtime.engine import NativeFile
from cpu1.runtime.plain import PlainStream
from cpu1.runtime.reference import Reference
from cpu1.runtime.streams import NativeStream

native_only = pytest.mark.skipif(not engine.available(), reason="installed without the native engine")
TEXT = Path(argparse.__file__).read_bytes()  # about 100 KB that every machine has


@pytest.fixture(scope="module")
def pairs(tmp_path_factory) -> dict[str, Pair]:
    """Runs that have every operation between them."""
    folder = tmp_path_factory.mktemp("packed")
    return {run: packed_run(run, folder, "int8") for run in ("01", "02a", "08", "10")}


class Rows:
    """A stream whose logits are given."""

    def __init__(self, rows) -> None:
        self.rows, self.at = np.array(rows, np.float32), 0

    def advance(self, units) -> None:
        self.at += len(units)

    def next_logits(self) -> np.ndarray:
        return self.rows[self.at % len(self.rows)]


def encoded(encoder, units, *cuts: int) -> bytes:
    for part in np.split(np.asarray(units), list(cuts)):
        encoder.put(part)
    return encoder.finish()


# ---------------------------------------------------------------------------------- in plain Python

finite = st.floats(-1e4, 1e4, width=32)


@given(st.data())
@settings(max_examples=60, deadline=None)
def test_units_come_back_whatever_the_model_thinks_of_them(data):
    symbols = data.draw(st.integers(1, 6))
    rows = data.draw(st.lists(st.lists(finite, min_size=symbols, max_size=symbols), min_size=1, max_size=4))
    units = data.draw(st.lists(st.integers(0, symbols - 1), max_size=200))
    code = encoded(coder.Encoder(Rows(rows)), units)
    assert coder.Decoder(Rows(rows), code).get(len(units)).tolist() == units


def test_a_code_is_as_long_as_its_units_are_surprising():
    rng = np.random.default_rng(0)
    rows = rng.normal(0, 3, (500, 256))
    chances = np.exp(rows - rows.max(1, keepdims=True))
    chances /= chances.sum(1, keepdims=True)
    units = [rng.choice(256, p=row) for row in chances]
    bits = -np.log2(chances[np.arange(500), units]).sum()
    assert 0 <= 8 * len(encoded(coder.Encoder(Rows(rows)), units)) - bits < 16


def test_what_is_sure_takes_no_room_and_no_unit_is_impossible():
    sure = Rows([[0.0, -1e4]])
    assert encoded(coder.Encoder(sure), [0] * 1000) == b""
    assert 4 <= len(encoded(coder.Encoder(sure), [1])) <= 5  # 32 bits


def test_shares_are_exponentials():
    logits = np.random.default_rng(0).normal(0, 8, 1000).astype(np.float32)
    wide = np.diff([0, *coder.shares(logits)])
    exact = [1 + math.floor(2**32 * math.exp(float(x) - float(logits.max()))) for x in logits]
    assert np.abs(wide / np.array(exact, np.float64) - 1).max() < 1e-9
    for bad in (np.nan, np.inf, -np.inf):
        logits[3] = bad
        with pytest.raises(ValueError, match="not finite"):
            coder.shares(logits)


def test_a_code_beyond_all_shares_is_damaged():
    rows = [[0.0, 0.0, 0.0]]
    with pytest.raises(ValueError, match="damaged"):
        coder.Decoder(Rows(rows), b"\xff" * 8).get(1)


def test_the_reference_decodes_what_it_encoded(pairs):
    reference = Reference(open_packed(pairs["10"].path))
    code = encoded(PlainStream(reference).encoder(), list(TEXT[:60]))
    assert PlainStream(reference).decoder(code).get(60).tolist() == list(TEXT[:60])


# ------------------------------------------------------------------------------------ in the engine


@native_only
@pytest.mark.parametrize("run", ["01", "02a", "08", "10"])
def test_the_engine_makes_the_code_that_python_makes(pairs, run):
    model, units = NativeFile(pairs[run].path), some_units(pairs[run], 300)
    code = encoded(NativeStream(model).encoder(), units)
    assert code == encoded(coder.Encoder(NativeStream(model)), units)
    assert np.array_equal(NativeStream(model).decoder(code).get(300), units)
    assert np.array_equal(coder.Decoder(NativeStream(model), code).get(300), units)


@native_only
def test_long_codes_are_the_same_too(pairs):
    """Carries that run through several bytes are rare."""
    model = NativeFile(pairs["10"].path)
    session = NativeStream(model)
    assert encoded(session.encoder(), list(TEXT[:6000])) == encoded(
        coder.Encoder(NativeStream(model)), list(TEXT[:6000])
    )
    code = encoded(NativeStream(model).encoder(), list(TEXT))
    assert NativeStream(model).decoder(code).get(len(TEXT)).astype(np.uint8).tobytes() == TEXT


@native_only
@pytest.mark.parametrize("run", ["01", "02a", "08", "10"])
def test_the_code_does_not_depend_on_how_units_are_divided(pairs, run):
    model, units = NativeFile(pairs[run].path), some_units(pairs[run], 300)
    code = encoded(NativeStream(model).encoder(), units)
    assert encoded(NativeStream(model).encoder(), units, 1, 6, 70, 71, 140, 141) == code
    assert encoded(NativeStream(model, threads=2).encoder(), units) == code
    decoder = NativeStream(model).decoder(code)
    assert np.array_equal(np.concatenate([decoder.get(count) for count in (5, 0, 1, 130, 3, 161)]), units)


@native_only
def test_a_stream_goes_on_after_its_code(pairs):
    model, units = NativeFile(pairs["10"].path), some_units(pairs["10"], 90)
    read, written = NativeStream(model), NativeStream(model)
    read.advance(units)
    code = encoded(written.encoder(), units)
    decoded = NativeStream(model)
    decoded.decoder(code).get(90)
    assert read.state == written.state == decoded.state


@native_only
def test_units_and_codes_that_are_none_are_refused(pairs):
    session = NativeStream(NativeFile(pairs["10"].path))
    with pytest.raises(ValueError, match="vocabulary"):
        session.encoder().put([257])
    with pytest.raises(ValueError, match="damaged"):
        session.decoder(b"\xff" * 100).get(10)


@native_only
@pytest.mark.parametrize("run", ["01", "02a", "03", "08", "10"])
@pytest.mark.parametrize("dense", ["int8", "bf16", "fp32"])
def test_instruction_sets_of_one_arithmetic_agree_to_the_bit(run, dense, tmp_path):
    """What `engine.arithmetic` promises. The others agree closely, which is no use to a code."""
    pair = packed_run(run, tmp_path, dense)
    units = some_units(pair, 300)
    found: dict[str, set[bytes]] = {}
    for isa in engine.isas():
        session = NativeStream(NativeFile(pair.path, isa))
        session.advance(units)
        found.setdefault(engine.arithmetic(isa), set()).add(session.state + session.next_logits().tobytes())
    assert {name: len(results) for name, results in found.items()} == dict.fromkeys(found, 1)
