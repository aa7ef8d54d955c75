"""The engine against the numpy reference and torch; the same bits however the work is divided; hostile files."""

import json
import subprocess
import threading
from dataclasses import replace

import numpy as np
import pytest
import torch
from helpers.native_build import ROOT, build
from helpers.packing import Pair, pack_model, packed_run, randomised, some_units

from cpu1.errors import UserError
from cpu1.format import container
from cpu1.format.operations import OPERATIONS
from cpu1.model import ladder
from cpu1.runtime import engine
from cpu1.runtime.engine import NativeFile
from cpu1.runtime.reference import Reference
from cpu1.runtime.sampling import Sampler, Sampling
from cpu1.runtime.streams import NativeStream

pytestmark = pytest.mark.skipif(not engine.available(), reason="installed without the native engine")
UNITS = 80


@pytest.fixture(scope="module")
def pairs(tmp_path_factory) -> dict[str, Pair]:
    """Runs that have every operation between them."""
    folder = tmp_path_factory.mktemp("packed")
    return {run: packed_run(run, folder) for run in ("01", "02a", "08", "10", "18", "19")}


def torch_nats(pair: Pair, units: np.ndarray) -> np.ndarray:
    with torch.no_grad():
        logits = pair.model(torch.from_numpy(units)[None], hard=True).logits[0]
        return torch.nn.functional.cross_entropy(logits, torch.from_numpy(units), reduction="none").numpy()


def test_it_knows_every_operation_and_no_other():
    assert engine.operations() == list(OPERATIONS)


@pytest.mark.parametrize("run", ladder.LADDER)
def test_every_run_costs_what_torch_and_the_reference_say(run, tmp_path):
    pair = packed_run(run, tmp_path)
    units = some_units(pair, UNITS)
    nats = NativeStream(NativeFile(pair.path)).score(units)
    np.testing.assert_allclose(nats, torch_nats(pair, units), rtol=0, atol=2e-5)
    np.testing.assert_allclose(nats / np.log(2), Reference(pair.packed).score(units), rtol=0, atol=2e-5)


@pytest.mark.parametrize("run", ["01", "03", "07", "08"])
@pytest.mark.parametrize("dense", ["bf16", "int8"])
def test_narrow_weights_cost_what_the_reference_says(run, dense, tmp_path):
    pair = packed_run(run, tmp_path, dense)
    units = some_units(pair, UNITS, seed=4)
    bits = NativeStream(NativeFile(pair.path)).score(units) / np.log(2)
    expected = Reference(pair.packed).score(units)
    # the last bit of fp32 turns an activation's rounding now and then, and so do the 15 bits of inputs to int8 products
    np.testing.assert_allclose(bits, expected, rtol=0, atol=0.05)
    assert abs(bits.mean() - expected.mean()) < 2e-3
    if dense == "bf16":
        assert np.median(np.abs(bits - expected)) < (2e-5 if run != "07" else 5e-3)


def test_greedy_generation_is_that_of_torch(pairs):
    from cpu1.runs.generate import generate
    from cpu1.runs.trained import Trained

    pair = pairs["10"]
    how = Sampling(temperature=0)
    trained = Trained(pair.model, pair.model.recipe, None, pair.path.parent)
    expected = b"".join(generate(trained, b"some text", 200, how, may_end=False))
    session = NativeStream(NativeFile(pair.path))
    session.advance(b"some text")
    assert session.generate(200, Sampler(how), may_end=False).astype(np.uint8).tobytes() == expected


@pytest.mark.parametrize("run", ["01", "02a", "08", "10"])
def test_blocks_and_steps_and_generation_agree_to_the_bit(pairs, run):
    pair = pairs[run]
    model, units = NativeFile(pair.path), some_units(pair, 150)
    whole = NativeStream(model)
    costs = whole.score(units)
    pieces, one = NativeStream(model), NativeStream(model)
    parts = [pieces.score(part) for part in np.split(units, [1, 6, 70, 71, 140])]
    assert np.array_equal(np.concatenate(parts), costs)
    for unit in units:
        one.advance([unit])
    read = NativeStream(model)
    read.advance(units)
    for session in (pieces, one, read):
        assert np.array_equal(session.next_logits(), whole.next_logits())
        assert session.state == whole.state


@pytest.mark.parametrize("run", ["01", "10"])
def test_threads_change_no_bit(pairs, run):
    model, units = NativeFile(pairs[run].path), some_units(pairs[run], 300)
    one, two = NativeStream(model), NativeStream(model, threads=2)
    assert np.array_equal(one.score(units), two.score(units))
    how = Sampling(temperature=0.9, seed=5)
    assert np.array_equal(one.generate(80, Sampler(how), may_end=False), two.generate(80, Sampler(how), may_end=False))
    assert one.state == two.state


@pytest.mark.parametrize(
    "how",
    [
        Sampling(temperature=0),
        Sampling(temperature=1.3, seed=1),
        Sampling(top_k=5, seed=2),
        Sampling(top_p=0.7, seed=3),
        Sampling(min_p=0.1, seed=4),
        Sampling(temperature=2.0, top_k=40, top_p=0.9, min_p=0.02, seed=5),
        Sampling(top_k=10**30, seed=6),
    ],
)
@pytest.mark.parametrize("may_end", [True, False])
def test_units_are_drawn_as_in_python(pairs, how, may_end):
    model = NativeFile(pairs["02a"].path)
    fast, slow, sampler = NativeStream(model), NativeStream(model), Sampler(how)
    expected: list[int] = []
    while len(expected) < 60:
        logits = slow.next_logits()
        if not may_end:
            logits[model.separator] = -1e30
        unit = sampler(logits)
        if unit == model.separator:
            break
        expected.append(unit)
        slow.advance([unit])
    native = Sampler(how)
    assert fast.generate(60, native, may_end=may_end).tolist() == expected
    assert native.state == sampler.state


@pytest.mark.parametrize("run", ["01", "08", "10"])
def test_a_saved_state_goes_on_alike(pairs, run):
    model = NativeFile(pairs[run].path)
    first = NativeStream(model)
    first.advance(some_units(pairs[run], 203))
    second = NativeStream(model)
    second.state = first.state
    how = Sampling(seed=3)
    assert np.array_equal(first.generate(50, Sampler(how)), second.generate(50, Sampler(how)))
    assert first.state == second.state


def test_a_state_of_another_model_or_a_damaged_one_is_refused(pairs):
    session, other = NativeStream(NativeFile(pairs["10"].path)), NativeStream(NativeFile(pairs["08"].path))
    state = session.state
    for bad in (other.state, b"", state[:-1], state + b"x", b"x" * len(state)):
        with pytest.raises(ValueError, match="state"):
            session.state = bad
    assert session.state == state


def test_sessions_of_several_threads_are_independent(pairs):
    model = NativeFile(pairs["10"].path)
    texts = [some_units(pairs["10"], 400, seed) for seed in range(4)]
    expected = [NativeStream(model).score(text) for text in texts]
    found: dict[int, np.ndarray] = {}
    workers = [
        threading.Thread(target=lambda i=i: found.update({i: NativeStream(model).score(texts[i])})) for i in range(4)
    ]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert all(np.array_equal(found[i], expected[i]) for i in range(4))


def test_units_that_are_none_are_refused(pairs):
    session = NativeStream(NativeFile(pairs["10"].path))
    for bad in ([257], [-1], [0.5], [[1]], [2**40]):
        with pytest.raises(ValueError, match="unit"):
            session.advance(bad)


def test_time_is_told_by_operation(pairs):
    session = NativeStream(NativeFile(pairs["10"].path))
    session.profile(True)
    session.generate(8, Sampler(Sampling()), may_end=False)
    spent = session.profile()
    assert {"ternary_linear", "gate_scan", "local_decode"} <= set(spent) <= set(OPERATIONS)
    assert all(seconds > 0 and calls > 0 for seconds, calls in spent.values())


@pytest.mark.parametrize("back", [1, 6, 8])
def test_the_decoder_looks_back_as_far_as_the_file_says(back, tmp_path):
    """Units of earlier steps count too: they travel in the state."""
    recipe = ladder.recipe("07", "demo")
    recipe = recipe.replace(head=replace(recipe.head, look_back=back))
    pair = pack_model(randomised(recipe), tmp_path / "model.cpu1")
    units = some_units(pair, UNITS)
    whole, reference = NativeStream(NativeFile(pair.path)), Reference(pair.packed)
    bits = whole.score(units) / np.log(2)
    np.testing.assert_allclose(bits, reference.score(units), rtol=0, atol=2e-5)
    one, moved = NativeStream(NativeFile(pair.path)), NativeStream(NativeFile(pair.path))
    one.score(units[:41])
    moved.state = one.state
    assert np.array_equal(moved.score(units[41:]), one.score(units[41:]))
    assert one.state == moved.state == whole.state


def test_a_default_may_be_written_down(pairs):
    def shown(about, tensors):
        assert "look_back" not in about["program"]["head"][0]
        about["program"]["head"][0]["look_back"] = 3

    units = some_units(pairs["10"], UNITS)
    expected = NativeStream(NativeFile(pairs["10"].path)).score(units)
    assert np.array_equal(NativeStream(NativeFile(edited(pairs["10"], shown))).score(units), expected)


# ------------------------------------------------------------------------------------ hostile files


def edited(pair: Pair, change) -> bytes:
    """The file with a changed header: `change` gets the header, and `about` as a dict."""
    data = pair.path.read_bytes()
    tensors, metadata = container.read(data)
    about = json.loads(metadata["cpu1"])
    change(about, tensors)
    return container.write(tensors, {"cpu1": json.dumps(about)})


def trunk(about: dict, name: str) -> dict:
    return next(op for op in about["program"]["trunk"] if op["op"] == name)


CHANGES = {
    "format 2": (lambda a, t: a.update(format=2), "format"),
    "another kind": (lambda a, t: a.update(kind="zip"), "not a packed model"),
    "an unknown field": (lambda a, t: a.update(more=1), "unknown field"),
    "an unknown operation": (lambda a, t: trunk(a, "add").update(op="jump"), "unknown operation 'jump'"),
    "an unknown field of one": (lambda a, t: trunk(a, "add").update(speed=1), "unknown field 'speed'"),
    "a field is missing": (lambda a, t: trunk(a, "add").pop("in"), "field in is missing"),
    "no such register": (lambda a, t: trunk(a, "add").update({"in": ["y", 0, 1]}), "no register 'y'"),
    "beyond a register": (lambda a, t: trunk(a, "add").update({"in": ["branch", 1, 128]}), "from 1 to 127"),
    "sizes disagree": (lambda a, t: trunk(a, "add").update({"in": ["branch", 0, 64]}), "has size"),
    "a skip backwards": (lambda a, t: trunk(a, "delete_gate").update(skip_to=0), "skip_to must be a whole number"),
    "a skip beyond the end": (lambda a, t: trunk(a, "delete_gate").update(skip_to=999), "skip_to must be"),
    "a state twice": (
        lambda a, t: [o.update(state="blocks.0.mixer") for o in a["program"]["trunk"] if o["op"] == "gate_scan"],
        "belongs to another operation",
    ),
    "a read before a write": (lambda a, t: a["program"]["trunk"].pop(0), "reads what no operation has written"),
    "a tensor is missing": (lambda a, t: t.pop("head.up"), "tensor 'head.up' is not in the file"),
    "a scale that is not finite": (
        lambda a, t: t.update({"blocks.0.ffn.input.weight.scale": container.Raw("F32", (2,), b"\xff" * 8)}),
        "not finite and above 0",
    ),
    "a value of 3": (
        lambda a, t: t.update(
            {"blocks.0.ffn.input.weight.trits": replaced(t["blocks.0.ffn.input.weight.trits"], b"\xff")}
        ),
        "a value of 3",
    ),
    "a huge register": (lambda a, t: a["program"]["registers"].update(big=1 << 40), "size of 'big'"),
    "a register nobody writes": (lambda a, t: a["program"]["registers"].update(big=1 << 18), "not written whole"),
    "a decoder that looks back too far": (
        lambda a, t: a["program"]["head"][0].update(look_back=9),
        "look_back must be a whole number from 1 to 8",
    ),
    "a decoder that looks back farther than its table": (
        lambda a, t: a["program"]["head"][0].update(look_back=4),
        "must be look_back",
    ),
    "an embedding of tokens": (
        lambda a, t: a["program"]["embed"][0].update(op="embed_token"),
        "not for a model of this level",
    ),
    "a word that is no choice": (
        lambda a, t: trunk(a, "dense_linear").update(activation="gelu"),
        "it must be one of none, silu, relu2",
    ),
    "a tokenizer": (lambda a, t: t.update(tokenizer=container.Raw("U8", (1,), b"x")), "tokenizer"),
}


def replaced(tensor: container.Raw, byte: bytes) -> container.Raw:
    return container.Raw(tensor.dtype, tensor.shape, byte + tensor.data[1:])


@pytest.mark.parametrize("what", CHANGES)
def test_a_hostile_file_is_refused_with_words(pairs, what):
    change, words = CHANGES[what]
    with pytest.raises(ValueError, match=words):
        NativeFile(edited(pairs["10"], change))


def test_a_file_cut_anywhere_is_refused(pairs):
    data = pairs["10"].path.read_bytes()
    for end in [*range(0, 200, 7), len(data) // 2, len(data) - 1]:
        with pytest.raises(ValueError, match=r"\w"):
            NativeFile(data[:end])
    with pytest.raises(ValueError, match="longer than its tensors"):
        NativeFile(data + b"\0")


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(UserError, match=r"none\.cpu1"):
        NativeFile(tmp_path / "none.cpu1")


@pytest.mark.parametrize("run", ["10", "18", "19"])
def test_a_short_run_of_the_fuzzer(pairs, run):
    """The loader without sanitizers; docs/engine.md has the command of the fuzzer with them."""
    rng = np.random.default_rng(0)
    data = pairs[run].path.read_bytes()
    for _ in range(300):
        damaged = bytearray(data)
        for place in rng.integers(0, min(len(data), 12_000), rng.integers(1, 6)):
            damaged[place] ^= 1 << int(rng.integers(8))
        try:
            session = NativeStream(NativeFile(bytes(damaged)))
        except ValueError:
            continue
        session.advance(b"abcd")
        assert session.next_logits().shape == (257,)


@pytest.mark.slow
@pytest.mark.parametrize("run", ["10", "18", "19"])
def test_the_fuzzer_under_sanitizers(pairs, tmp_path, run):
    options = {"CPU1_SANITIZE": "ON", "CPU1_SETS": "portable", "CPU1_OPTIMISE": "-O1"}
    folder = build(ROOT / "native", tmp_path, ["fuzz"], **options)
    words = [folder / "engine" / "fuzz", pairs[run].path, "150"]
    run = subprocess.run(words, capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stdout[-2000:] + run.stderr[-4000:]
    assert "150 files" in run.stdout
