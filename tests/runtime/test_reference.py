"""The numpy interpreter against torch: every run, the same logits, integers, decisions and bits."""

import numpy as np
import pytest
import torch
from helpers.packing import Pair, pack_model, packed_run, randomised, some_units

from cpu1 import ops
from cpu1.errors import UserError
from cpu1.format.operations import OPERATIONS
from cpu1.model import ladder
from cpu1.model.ingredients import Attention, DeleteGate, FoldedAttention, FPResidual
from cpu1.model.recipe import changed
from cpu1.runtime import reference
from cpu1.runtime.reference import Reference, State

UNITS = 64


def stepwise(pair: Pair, units: np.ndarray) -> tuple[np.ndarray, list[bool]]:
    """Logits (N, V) of each unit given those before it, and for each step whether it was kept."""
    machine = Reference(pair.packed)
    state = machine.start()
    logits, kept, begun = [], [state.kept], []
    for unit in units.tolist():
        logits.append(machine.next_logits(begun, state))
        begun.append(unit)
        if machine.is_whole(begun):
            state, begun = machine.advance(begun, state), []
            kept.append(state.kept)
    return np.array(logits), kept


def compare(pair: Pair, count: int = UNITS) -> None:
    units = some_units(pair, count)
    whole = -(-count // pair.model.patch) * pair.model.patch
    with torch.no_grad():
        padded = torch.from_numpy(np.pad(units, (0, whole - count)))[None]
        expected = pair.model(padded, hard=True)
    logits, kept = stepwise(pair, units)
    np.testing.assert_allclose(logits, expected.logits[0, :count].numpy(), rtol=0, atol=1e-4)
    if expected.keep is not None:
        steps = expected.keep.shape[1]
        assert kept[:steps] == (expected.keep[0] >= 0.5).tolist()
        assert len(set(kept)) == 2  # some deleted, some not


@pytest.mark.parametrize("run", ladder.LADDER)
def test_logits_and_decisions_are_those_of_torch(run, tmp_path):
    compare(packed_run(run, tmp_path))


@pytest.mark.parametrize("run", ["02a", "06", "07"])
def test_a_text_may_end_inside_a_patch(run, tmp_path):
    compare(packed_run(run, tmp_path), UNITS - 3)


@pytest.mark.parametrize("run", ["01", "07", "08", "13"])
@pytest.mark.parametrize("dense", ["bf16", "int8"])
def test_narrow_weights_are_those_that_unpacking_gives_torch(run, dense, tmp_path):
    """Logits of torch with the stored weights; the decoder's derived rows are rounded a second time."""
    from cpu1.format.packed import unpack
    from cpu1.runs.trained import load

    pair = packed_run(run, tmp_path, dense)
    unpack(pair.packed, tmp_path / "run")
    model = load(tmp_path / "run").model
    units = some_units(pair, UNITS)
    with torch.no_grad():
        expected = model(torch.from_numpy(units)[None], hard=True).logits[0].numpy()
    tolerance = 1e-4 if pair.packed.program.head[0].name == "patch_heads" else 0.05
    np.testing.assert_allclose(stepwise(pair, units)[0], expected, rtol=0, atol=tolerance)


@pytest.mark.parametrize("change", [("head.look_back", "1"), ("head.look_back", "8"), ("linear.sub_norm", "false")])
def test_a_changed_recipe_gives_the_logits_of_torch(change, tmp_path):
    compare(pack_model(randomised(changed(ladder.recipe("07", "demo"), [change])), tmp_path / "model.cpu1"))


def test_what_the_runtime_cannot_do_is_refused(tmp_path):
    with pytest.raises(UserError, match="cannot be packed yet"):
        pack_model(randomised(changed(ladder.recipe("07", "demo"), [("ffn", "ReLU2")])), tmp_path / "model.cpu1")


def test_folded_attention_forgets_what_is_two_segments_back(tmp_path):
    recipe = ladder.recipe("08", "demo").replace(mixer=FoldedAttention(32, segment=5))
    pair = pack_model(randomised(recipe), tmp_path / "model.cpu1")
    compare(pair, 4 * 18)
    machine, state = Reference(pair.packed), None
    for step in range(18):
        state = machine.start() if state is None else machine.advance(some_units(pair, 4, step), state)
        assert all(len(cache) == min(step + 1, step % 5 + 6) for cache in state.caches.values())


@pytest.mark.parametrize("mixer", [Attention(32), FoldedAttention(32, segment=4)], ids=["whole", "folded"])
def test_a_deleted_step_enters_no_cache_but_counts_as_a_position(mixer, tmp_path):
    recipe = ladder.recipe("08", "demo").replace(mixer=mixer, gate=DeleteGate(), residual=FPResidual())
    pair = pack_model(randomised(recipe), tmp_path / "model.cpu1")
    compare(pair, 96)
    machine, units = Reference(pair.packed), some_units(pair, 96)
    _, kept = stepwise(pair, units)
    state = machine.advance(units, machine.start())
    assert state.position == 25
    behind_gate = state.caches["blocks.2.mixer"]
    visible = [t for t, keep in enumerate(kept) if keep and (mixer == Attention(32) or t // 4 >= 24 // 4 - 1)]
    positions = [entry.position for entry in behind_gate]
    # entries are dropped when the next one comes, so a deleted step may leave older ones behind
    assert [p for p in positions if p in visible] == visible
    assert set(positions) <= {t for t, keep in enumerate(kept) if keep}


@pytest.mark.parametrize("gain", [False, True])
def test_quantised_rows_are_the_integers_of_training(gain):
    generator = torch.Generator().manual_seed(0)
    rows = torch.randn(200, 96, generator=generator) * torch.logspace(-35, 18, 200)[:, None]
    rows[7] = 0
    gains = torch.randn(96, generator=generator) if gain else None
    expected_q, expected_s, _ = ops.quantise(rows, gains)
    for row, q, s in zip(rows.numpy(), expected_q.numpy(), expected_s.tolist(), strict=True):
        found_q, found_s = reference.quantise(row, None if gains is None else gains.numpy())
        assert np.array_equal(found_q, q)
        assert float(found_s) == pytest.approx(s, rel=1e-6, abs=1e-44)


def test_integer_products_are_those_of_training(tmp_path):
    """With w and γ from the file and the same input, bit_linear's sums and their scaling come out the same."""
    pair = packed_run("04", tmp_path)
    projection = pair.model.blocks[1].ffn.output
    name = "blocks.1.ffn.output.weight"
    x = torch.randn(20, projection.weight.shape[1], generator=torch.Generator().manual_seed(1))
    q, _, _ = ops.quantise(x, projection.gain)
    w, gamma = ops.ternarise(projection.weight.detach(), projection.parts)
    stored = pair.packed.ternary(name)
    assert np.array_equal(stored.w, w.numpy())
    assert np.array_equal(stored.scale, gamma.numpy())
    exact = q.numpy().astype(np.int64) @ w.numpy().T.astype(np.int64)
    machine = Reference(pair.packed)
    for row, sums in zip(q.numpy(), exact, strict=True):
        assert np.array_equal(machine.matrices[name] @ row.astype(np.float32), sums)


@pytest.mark.parametrize("run", ["02", "07", "13"])
def test_score_is_the_bits_of_torch(run, tmp_path):
    pair = packed_run(run, tmp_path)
    units = some_units(pair, 41)
    with torch.no_grad():
        padded = torch.from_numpy(np.pad(units, (0, -41 % pair.model.patch)))[None]
        logits = pair.model(padded, hard=True).logits[0, :41].double()
    expected = torch.nn.functional.cross_entropy(logits, torch.from_numpy(units), reduction="none") / np.log(2)
    found = Reference(pair.packed).score(units)
    np.testing.assert_allclose(found, expected.numpy(), rtol=0, atol=3e-4)


def test_a_state_is_not_changed_by_a_call(tmp_path):
    """So it can be kept, and gone on from twice."""
    pair = packed_run("09", tmp_path)
    machine, units = Reference(pair.packed), some_units(pair, 32)
    state = machine.advance(units[:16], machine.start())
    once, twice = machine.advance(units[16:], state), machine.advance(units[16:], state)
    assert np.array_equal(once.s, twice.s)
    assert all(np.array_equal(once.vectors[name], twice.vectors[name]) for name in once.vectors)
    assert isinstance(state, State)
    assert state.position == 5


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda m, s: m.advance([1, 2, 3], s), "not whole steps"),
        (lambda m, s: m.advance([1, 2, 3, 257], s), "0 to 256"),
        (lambda m, s: m.advance([-1, 2, 3, 4], s), "0 to 256"),
        (lambda m, s: m.next_logits([1, 2, 3, 4], s), "begun of a step of 4"),
        (lambda m, s: m.next_logits([[1]], s), "a row of numbers"),
    ],
)
def test_units_are_checked(call, message, tmp_path):
    machine = Reference(packed_run("04", tmp_path).packed)
    with pytest.raises(ValueError, match=message):
        call(machine, machine.start())


def test_every_operation_is_implemented():
    assert {**reference.EMBED, **reference.TRUNK, **reference.HEAD}.keys() == OPERATIONS.keys()


def test_the_engine_knows_the_same_operations():
    engine = pytest.importorskip("cpu1.runtime.engine")
    assert set(engine.operations()) == set(OPERATIONS)
