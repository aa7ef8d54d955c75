"""The eager baseline is the same model as the reference, and as plain and as fast in form as it says."""

import eager
import pytest
import torch

from cpu1 import ops
from cpu1.model import ladder
from cpu1.model.network import build
from cpu1.ops import reference


def small_model(run: str, dtype: torch.dtype = torch.float32, seed: int = 0):
    """A model whose every tensor matters: none at the zero it starts from. Seeds what is drawn after it, too."""
    torch.manual_seed(seed)
    model = build(ladder.recipe(run, "demo").replace(width=64, layers=3), 1).train()
    with torch.no_grad():
        for tensor in model.parameters():
            tensor.add_(0.02 * torch.randn_like(tensor))
    return model.to(dtype)


def logits_and_gradients(model, units, hard):
    """Of the cross-entropy and, where there is a gate, of what it keeps."""
    output = model(units, hard)
    kept = 0.0 if output.keep is None else output.keep.mean()
    model.zero_grad()
    (torch.nn.functional.cross_entropy(output.logits.flatten(0, 1), units.flatten()) + kept).backward()
    return {"logits": output.logits.detach()} | {name: p.grad for name, p in model.named_parameters()}


def both(model, steps, hard=False):
    """By the reference and by the eager operations, on the same bytes."""
    units = torch.randint(1, 256, (2, steps * model.patch))
    with ops.use_reference():
        expected = logits_and_gradients(model, units, hard)
    with eager.operations():
        found = logits_and_gradients(model, units, hard)
    return [(name, found[name], tensor) for name, tensor in expected.items()]


def assert_equal_in_double_precision(model, steps, hard=False):
    for name, found, expected in both(model, steps, hard):
        torch.testing.assert_close(found, expected, rtol=1e-9, atol=1e-11, msg=lambda text, n=name: f"{n}: {text}")


@pytest.mark.parametrize("run", ["01", "02", "03", "04", "05b", "07", "08", "10"])
def test_in_double_precision_it_is_the_reference_to_the_last_digits(run):
    assert_equal_in_double_precision(small_model(run, torch.float64), 16)


@pytest.mark.parametrize("steps", [1, 2, 7, 33])
@pytest.mark.parametrize("hard", [False, True], ids=["soft", "hard"])
def test_any_length_and_both_forms_of_the_gate(steps, hard):
    assert_equal_in_double_precision(small_model("07", torch.float64), steps, hard)


@pytest.mark.parametrize("run", ["03", "07"])
def test_in_single_precision_it_is_the_reference_to_rounding(run):
    """Of five draws the median: where a value lies at a rounding tie of the quantiser, the two may part."""
    worst = []
    for seed in range(5):
        rows = both(small_model(run, seed=seed), 32)
        worst.append(max(float((found - expected).norm() / expected.norm()) for _, found, expected in rows))
    assert sorted(worst)[2] < 1e-5


def test_a_text_read_in_two_parts_is_the_same_text():
    model, units = small_model("07", torch.float64).eval(), torch.randint(1, 256, (1, 40))
    with torch.no_grad(), eager.operations():
        whole = model(units, hard=True).logits
        first, state = model.extend(units[:, :12], model.start())
        second, _ = model.extend(units[:, 12:], state)
    torch.testing.assert_close(torch.cat((first, second), 1), whole)


def test_gates_at_their_ends_give_exact_states_and_finite_gradients():
    f, fresh = torch.tensor([0.0, 1.0, 1e-38, 0.5]).repeat(3, 16, 1).requires_grad_(), torch.randn(3, 16, 4)
    states = eager.recur(f, fresh, None, None)
    torch.testing.assert_close(states, reference._recur(f, fresh, None, None))
    (gradient,) = torch.autograd.grad(states.sum(), f)
    assert gradient.isfinite().all()


def nodes(model, steps):
    """The backward graph of one step."""
    with eager.operations():
        output = model(torch.randint(1, 256, (1, 4 * steps)))
    seen, left = set(), [output.logits.grad_fn, output.keep.grad_fn]
    while left:
        node = left.pop()
        if node is not None and node not in seen:
            seen.add(node)
            left += [parent for parent, _ in node.next_functions]
    return seen


def test_no_operator_of_ours_and_no_loop_over_time():
    model = small_model("09")
    short, long = nodes(model, 32), nodes(model, 64)
    ours = [node for node in long if isinstance(node, torch.autograd.function.BackwardCFunction)]
    assert not ours
    recurrences = 6  # a mixer and a memory in each of three layers
    assert len(long) - len(short) < 32 * recurrences  # one more level of each, not 32 more steps


def test_a_step_trains():
    model, units = small_model("07"), torch.randint(1, 256, (2, 64))
    before = {name: tensor.clone() for name, tensor in model.named_parameters()}
    eager.step(model, eager.make_optimizer(model), units)
    assert all(not torch.equal(tensor, before[name]) for name, tensor in model.named_parameters())
