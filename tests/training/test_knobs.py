"""Settings of training: each knob does what it says, and says nothing in JSON while it is not turned."""

from dataclasses import replace
from itertools import pairwise

import pytest
import torch
from helpers.settings import PLAN

from cpu1.errors import UserError
from cpu1.model import ladder
from cpu1.model.network import Output, build
from cpu1.runs.settings import KNOBS
from cpu1.training.optim import SplitMuon, follow, optimizer
from cpu1.training.parallel import Group
from cpu1.training.step import losses, set_phase


def test_schedule_warms_up_stays_and_decays():
    plan = replace(PLAN, warmup=0.1, decay=0.4, floor=0.05)
    rates = [plan.rate_at(step) for step in range(100)]
    assert rates[0] == pytest.approx(0.1)
    assert rates[9:61] == [1.0] * 52
    assert rates[-1] == pytest.approx(0.05 + 0.95 / 40)
    assert all(a >= b for a, b in pairwise(rates[10:]))


def test_cosine_warms_up_and_comes_down_to_the_floor():
    plan = replace(PLAN, warmup=0.1, floor=0.1, schedule="cosine")
    rates = [plan.rate_at(step) for step in range(101)]
    assert rates[4] == pytest.approx(0.5)
    assert rates[10] == 1.0
    assert rates[55] == pytest.approx(0.55)  # halfway between the peak and the floor
    assert rates[100] == pytest.approx(0.1)
    assert all(a >= b for a, b in pairwise(rates[10:]))


def test_two_stages_drop_to_a_lower_line_and_switch_the_decay_off():
    plan = replace(PLAN, warmup=0.1, floor=0.0, schedule="two-stage", weight_decay=0.2)
    rates = [plan.rate_at(step) for step in range(101)]
    assert rates[20] == pytest.approx(0.8)
    assert rates[49] == pytest.approx(0.51)
    assert rates[50] == pytest.approx(0.5 * 2 / 3)
    assert rates[100] == 0
    assert [plan.weight_decay_at(step) for step in (0, 49, 50, 99)] == [0.2, 0.2, 0.0, 0.0]
    assert replace(plan, schedule="wsd").weight_decay_at(99) == 0.2
    made = optimizer(build(ladder.recipe("04", "demo")), plan)
    for step, decay in ((49, 0.2), (50, 0.0)):
        follow(made, plan, step)
        assert {group["weight_decay"] for group in made.param_groups if group["decays"]} == {decay}
        assert {group["weight_decay"] for group in made.param_groups if not group["decays"]} == {0.0}
        assert {group["lr"] for group in made.param_groups} == {plan.rate_at(step)}


def muon_model(run):
    model = build(ladder.recipe(run, "demo"), 3)
    made = optimizer(model, replace(PLAN, optimizer="muon", ternary_rate=2.0))
    generator = torch.Generator().manual_seed(4)
    for parameter in model.parameters():
        parameter.grad = torch.randn(parameter.shape, generator=generator)
    return model, made


def test_muon_updates_the_hidden_matrices_and_adamw_the_rest():
    model, made = muon_model("10")
    follow(made, PLAN, 50)
    made.step()
    by_muon = {name for name, p in model.named_parameters() if "momentum_buffer" in made.state[p]}
    by_adamw = {name for name, p in model.named_parameters() if "exp_avg" in made.state[p]}
    assert by_muon | by_adamw == {name for name, _ in model.named_parameters()}
    assert not by_muon & by_adamw
    assert {"blocks.0.mixer.input.weight", "blocks.2.ffn.output.weight", "blocks.1.memory.input", "head.slots",
            "head.up", "head.down"} <= by_muon  # fmt: skip
    assert {"embedding.bytes", "head.output", "head.back", "gate.up", "blocks.0.ffn.output.gain"} <= by_adamw
    assert {group["factor"] for group in made.param_groups} == {1.0, 2.0}


@pytest.mark.parametrize("run", ["03", "04"])
def test_muon_treats_stacked_matrices_as_torch_does_separate_ones(run):
    model, made = muon_model(run)
    weight = model.blocks[0].mixer.input.weight
    parts = [part.detach().clone().requires_grad_() for part in weight.split(128)]
    assert len(parts) == 3
    alone = torch.optim.Muon(parts, lr=0.01, weight_decay=0.1, adjust_lr_fn="match_rms_adamw")
    for group in made.param_groups:
        group.update(lr=0.01, weight_decay=0.1)
    for _ in range(3):
        for part, gradient in zip(parts, weight.grad.split(128), strict=True):
            part.grad = gradient.clone()
        alone.step()
        made.step()
    assert torch.equal(weight, torch.cat(parts))


def test_muons_updates_are_as_large_as_adamws():
    """One rate for both: the root mean square of an update is about 0.2 of it, whatever the shape."""
    for shape in ((64, 64), (256, 64), (64, 192)):
        weight = torch.nn.Parameter(torch.zeros(shape))
        weight.grad = torch.randn(shape, generator=torch.Generator().manual_seed(0))
        made = SplitMuon([{"params": [weight], "lr": 0.01}], {})
        made.step()
        assert weight.detach().square().mean().sqrt() == pytest.approx(0.2 * 0.01, rel=0.2)


def test_z_loss_adds_its_analytic_gradient():
    model = build(ladder.recipe("04", "demo"))
    logits = torch.randn(2, 8, 256, generator=torch.Generator().manual_seed(0), requires_grad=True)
    units, s = torch.randint(0, 256, (2, 8)), torch.zeros(2, 2, 128)
    gradients = []
    for z_loss in (0.0, 0.3):
        objective, means = losses(model, Output(logits, s), units, None, Group(torch.device("cpu")), z_loss)
        gradients.append(torch.autograd.grad(objective, logits)[0])
        assert torch.equal(means[0], objective) == (z_loss == 0)
    expected = 0.3 * 2 * logits.logsumexp(-1, keepdim=True) * logits.softmax(-1) / 16
    torch.testing.assert_close(gradients[1] - gradients[0], expected)


def test_weights_become_ternary_at_their_step():
    model = build(ladder.recipe("04", "demo"))
    units = torch.randint(1, 256, (1, 32), generator=torch.Generator().manual_seed(0))
    ternary = model(units).logits
    plan = replace(PLAN, ternary_start=0.25)
    seen = []
    for step in (0, 24, 25, 99):
        set_phase(model, plan, step)
        seen.append(model(units).logits)
    assert torch.equal(seen[0], seen[1])
    assert torch.equal(seen[2], ternary)
    assert torch.equal(seen[3], ternary)
    assert (seen[1] - ternary).abs().max() > 0.01
    set_phase(model, PLAN, 0)
    assert torch.equal(model(units).logits, ternary)


def test_knobs_are_settings_and_labels_are_not():
    assert {"rate", "optimizer", "schedule", "z_loss", "ternary_start", "steps"} <= set(KNOBS)
    assert not {"run", "seed", "data", "teacher"} & set(KNOBS)
    assert "optimizer" not in PLAN.to_json()
    assert replace(PLAN, optimizer="muon").to_json() == {**PLAN.to_json(), "optimizer": "muon"}


@pytest.mark.parametrize(
    "change",
    [
        {"steps": 0},
        {"rate": float("nan")},
        {"rate": -1.0},
        {"precision": "fp16"},
        {"optimizer": "sgd"},
        {"schedule": "linear"},
        {"z_loss": -0.1},
        {"ternary_start": 1.0},
        {"beta1": 1.0},
        {"warmup": 1.5},
    ],
)
def test_settings_out_of_range_are_refused(change):
    with pytest.raises(UserError, match=next(iter(change))):
        replace(PLAN, **change)
