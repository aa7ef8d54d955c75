"""Every run: causal, the same in one window as step by step, and learning in every tensor."""

import pytest
import torch

from cpu1.model import ladder
from cpu1.model.ingredients import attention
from cpu1.model.network import Model, build, init_weights
from cpu1.model.recipe import changed

UNITS = 64
CLOSE = {torch.float64: {"rtol": 1e-6, "atol": 1e-6}, torch.float32: {"rtol": 1e-2, "atol": 2e-2}}


def tiny(run: str) -> Model:
    """A run at demo scale with every tensor random, so that nothing is hidden behind a zero."""
    model = build(ladder.recipe(run, "demo"), seed=1)
    generator = torch.Generator().manual_seed(2)
    with torch.no_grad():
        for tensor in model.parameters():
            if tensor.abs().max() == 0:
                tensor.normal_(std=0.3, generator=generator)
        if model.gate is not None:
            model.gate.down_bias.fill_(0.0)  # so that about half of the patches are deleted
    return model.eval()


def text(model: Model, batch: int = 2, count: int = UNITS) -> torch.Tensor:
    vocabulary = model.recipe.embedding.vocabulary if model.recipe.level == "token" else 256
    return torch.randint(1, vocabulary, (batch, count), generator=torch.Generator().manual_seed(3))


@pytest.mark.parametrize("hard", [False, True], ids=["soft", "hard"])
@pytest.mark.parametrize("run", ladder.LADDER)
@torch.no_grad()
def test_causality(run, hard):
    """Changing unit i changes no prediction of units <= i."""
    model = tiny(run)
    units = text(model)
    before = model(units, hard=hard).logits
    changed_later = 0
    for i in (0, 1, 2, 3, 4, 17, 30, 31, 32, 62, 63):
        other = units.clone()
        other[:, i] = (other[:, i] + 101) % 255 + 1
        after = model(other, hard=hard).logits
        torch.testing.assert_close(after[:, : i + 1], before[:, : i + 1], rtol=0, atol=1e-6)
        changed_later += int(not torch.equal(after[:, i + 1 :], before[:, i + 1 :]))
    assert changed_later >= 9  # the same change is seen by what follows, so the test sees


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32], ids=["exact", "kernels"])
@pytest.mark.parametrize("run", ladder.LADDER)
@torch.no_grad()
def test_a_window_equals_its_steps(run, dtype):
    """Reading a text in pieces, with the state carried over, gives the logits of reading it at once.

    In fp32 attention over pieces differs in its last bits, on some processors enough to move a quantiser by a step.
    """
    model = tiny(run).to(dtype)
    units = text(model, batch=1 if model.cuts else 2)
    whole = model(units, hard=True).logits
    state, pieces = model.start(batch=len(units)), []
    for begin, end in ((0, 4), (4, 8), (8, 32), (32, 64)):
        logits, state = model.extend(units[:, begin:end], state)
        pieces.append(logits)
    torch.testing.assert_close(torch.cat(pieces, 1), whole, **CLOSE[dtype])


@pytest.mark.parametrize("run", ["01", "02a", "02", "07", "10", "19"])
@torch.no_grad()
def test_unit_by_unit_equals_the_window(run):
    model = tiny(run)
    units = text(model, batch=1, count=16)
    whole = model(units, hard=True).logits
    state, begun, found = model.start(), units[:, :0], []
    for i in range(16):
        found.append(model.next_logits(begun, state))
        begun = torch.cat((begun, units[:, i : i + 1]), 1)
        if begun.shape[1] == model.patch:
            _, state = model.extend(begun, state)
            begun = begun[:, :0]
    torch.testing.assert_close(torch.stack(found, 1), whole, rtol=1e-4, atol=2e-4)


@pytest.mark.parametrize("run", ladder.LADDER)
def test_every_tensor_gets_a_gradient(run):
    model = tiny(run).train()
    output = model(text(model))
    objective = output.logits.square().mean()
    if model.distill is not None:
        target = torch.ones(*output.s.shape[:2], model.distill.size)
        objective = objective + model.distill(output.s, target, None, torch.mean)
    objective.backward()
    still = [name for name, tensor in model.named_parameters() if tensor.grad is None or not tensor.grad.any()]
    assert still == []


def test_hard_deletion_leaves_state_and_stream_alone():
    """A deleted patch reaches the head as it came to the gate, and later predictions do not feel it."""
    model = tiny("07")
    units = text(model, batch=1)
    output = model(units, hard=True)
    assert set(output.keep.unique().tolist()) == {0.0, 1.0}
    with torch.no_grad():
        model.gate.down_bias.fill_(-1e4)  # everything is deleted: only the blocks before the gate are left
        bare = model(units, hard=True)
        for block in model.blocks[model.gate_position :]:
            for tensor in block.parameters():
                tensor.normal_()
        torch.testing.assert_close(model(units, hard=True).logits, bare.logits, rtol=0, atol=0)


def test_initialisation_is_a_function_of_the_seed():
    recipe = ladder.recipe("10", "demo")
    one, two, other = build(recipe, 5), build(recipe, 5), build(recipe, 6)
    pairs = list(zip(one.state_dict().items(), two.state_dict().items(), strict=True))
    assert all(torch.equal(a, b) for (_, a), (_, b) in pairs)
    assert not torch.equal(one.embedding.bytes, other.embedding.bytes)


@pytest.mark.parametrize("run", ladder.LADDER)
def test_initialisation_reaches_every_tensor(run):
    model = Model(ladder.recipe(run, "demo"))
    with torch.no_grad():
        for tensor in [*model.parameters(), *model.buffers()]:
            tensor.fill_(float("nan"))
    if model.gate is not None:
        model.gate.pressure.zero_()
    init_weights(model, 0)
    assert all(tensor.isfinite().all() for tensor in [*model.parameters(), *model.buffers()])


def test_half_lives_of_the_memory_run_from_1_to_256():
    decay = build(ladder.recipe("09", "demo")).blocks[0].memory.theta.double().sigmoid()
    half_lives = -1 / torch.log2(decay)
    assert half_lives[0].item() == pytest.approx(1, rel=1e-4)
    assert half_lives[-1].item() == pytest.approx(256, rel=1e-3)
    steps = half_lives.log().diff()
    torch.testing.assert_close(steps, steps.mean().expand_as(steps), rtol=1e-2, atol=0)


@pytest.mark.parametrize("changes", [{"head.look_back": "1"}, {"head.look_back": "8"}, {"ffn": "ReLU2"}], ids=str)
@torch.no_grad()
def test_a_changed_recipe_is_causal_and_equals_its_steps(changes):
    model = build(changed(ladder.recipe("07", "demo"), changes.items()), seed=1).eval()
    units = text(model)
    whole = model(units, hard=True).logits
    for i in (0, 5, 30, 63):
        other = units.clone()
        other[:, i] = (other[:, i] + 101) % 255 + 1
        torch.testing.assert_close(model(other, hard=True).logits[:, : i + 1], whole[:, : i + 1], rtol=0, atol=1e-6)
    state, pieces = model.start(batch=2), []
    for begin in range(0, UNITS, 4):
        logits, state = model.extend(units[:, begin : begin + 4], state)
        pieces.append(logits)
    torch.testing.assert_close(torch.cat(pieces, 1), whole, rtol=1e-4, atol=2e-4)


@pytest.mark.parametrize("run", ["01", "02", "08"])
@torch.no_grad()
def test_a_long_text_is_read_as_a_short_one(run, monkeypatch):
    """Attention that only reads takes another form for long texts, with the same result."""
    model = tiny(run).double()
    units = text(model)
    short = model(units, hard=True).logits
    monkeypatch.setattr(attention, "LONG", 3)
    long = model(units, hard=True).logits
    assert not torch.equal(long, short)
    torch.testing.assert_close(long, short, rtol=1e-9, atol=1e-9)
