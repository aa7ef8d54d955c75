"""Steps that a GPU is handed without waiting for it: here on the CPU, where they must be those of `step` to the bit."""

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from helpers.settings import PLAN
from torch.utils._python_dispatch import TorchDispatchMode

from cpu1.data.order import Windows
from cpu1.data.split import Split
from cpu1.model import ladder
from cpu1.model.network import build
from cpu1.training import ahead
from cpu1.training.optim import optimizer as make_optimizer
from cpu1.training.parallel import Group
from cpu1.training.step import Step, Windowed, step

ALONE = Group(torch.device("cpu"))
SETTINGS = replace(PLAN, steps=8, batch=3, window=32, rate=3e-3, warmup=0.3, clip=0.5, ternary_start=0.3)
WAITS = {"aten._local_scalar_dense", "aten.is_nonzero", "aten.nonzero", "aten.equal", "aten.item", "aten.unique_dim"}


class NoWaiting(TorchDispatchMode):
    """Refuses what makes a host wait for its GPU."""

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        assert str(func).rpartition(".")[0] not in WAITS, func
        return func(*args, **(kwargs or {}))


def trained(run: str, in_queue: bool, tmp_path: Path, spoiled: int = -1) -> tuple[list[Step], dict[str, torch.Tensor]]:
    """What eight steps gave, and the tensors after them; step `spoiled` finds weights that are not finite."""
    recipe = ladder.recipe(run, "demo")
    stream = np.random.default_rng(0).integers(0, recipe.embedding.vocabulary, 4000)
    stream = stream.astype(np.uint8 if recipe.level == "byte" else np.uint16)
    settings, windows = SETTINGS, Windows(stream, SETTINGS.window, 0)
    model = build(recipe).train()
    if model.tables is not None:
        model.tables.sparse = False  # as a queue has it: sums of squares in the same order
    optimizer = make_optimizer(model, settings)
    offsets = np.array([0, 1000, len(stream)])
    lookups = [module.of_text(Split(stream, offsets), tmp_path / "text") for module in model.lookups]
    queue = ahead.Ahead(model, model, optimizer, stream, settings, ALONE, lookups) if in_queue else None
    steps: list[Step] = []
    for number in range(settings.steps):
        places = windows.starts(number, settings.batch)
        weight = model.blocks[0].ffn.output.weight
        before = weight.detach().clone()
        if number == spoiled:
            weight.data[0, 0] = torch.nan
        if queue is None:
            units = ALONE.share(windows.read(places))
            found = [torch.from_numpy(lookup.windows(places, SETTINGS.window)) for lookup in lookups]
            steps.append(step(model, optimizer, Windowed(units, places, found), number, settings, None, ALONE))
        else:
            steps += queue.take(places, number, wait=number % 3 == 2)
        if number == spoiled:
            weight.data.copy_(before)
    steps += queue.figures() if queue is not None else []
    return steps, dict(model.state_dict())


@pytest.mark.parametrize("run", ["01", "03", "07", "10", "18"])
def test_a_queue_trains_as_single_steps_do(run: str, tmp_path: Path) -> None:
    for spoiled in (-1, 4):
        (steps, tensors), (found, others) = (trained(run, queued, tmp_path, spoiled) for queued in (False, True))
        assert [each.finite for each in found] == [each.finite for each in steps]
        assert [number for number, each in enumerate(steps) if not each.finite] == [4] * (spoiled == 4)
        kept = [(one, two) for one, two in zip(steps, found, strict=True) if one.finite]
        assert all(one == two for one, two in kept)
        assert any(one.norm > SETTINGS.clip for one, _ in kept)  # some were clipped
        for name, tensor in tensors.items():
            assert torch.equal(tensor, others[name]), name


def test_a_graph_is_captured_again_when_what_it_was_captured_with_changes(monkeypatch: pytest.MonkeyPatch) -> None:
    """With a graph that on the CPU is the step itself: a gate that hardens, then ternary weights."""
    settings = replace(SETTINGS, steps=32, ternary_start=0.6)
    model, stream = build(ladder.recipe("07", "demo")).train(), np.ones(100, np.uint8)
    queue = ahead.Ahead(model, model, make_optimizer(model, settings), stream, settings, ALONE)
    queue.graphs = True
    happened: list[str] = []
    step = queue._step
    monkeypatch.setattr(queue, "_step", lambda: (happened.append("step"), step()))
    replay = SimpleNamespace(replay=lambda: (happened.append("replay"), step()))
    monkeypatch.setattr(queue, "_capture", lambda: (happened.append("capture"), replay)[1])
    for number in range(settings.steps):
        queue.take(np.array([1, 2, 3]), number)
    warm = ["step"] * ahead.WARM + ["capture"]
    lasting = [8, 12, 12]  # steps of each phase
    assert happened == [each for count in lasting for each in (*warm, *["replay"] * (count - ahead.WARM))]
    assert all(done.finite for done in queue.figures())


@pytest.mark.parametrize("run", [run for run in ladder.LADDER if ladder.find(run).teacher is None])
def test_nothing_in_a_step_waits_for_the_device(run: str, tmp_path: Path) -> None:
    recipe = ladder.recipe(run, "demo")
    model, stream = build(recipe).train(), np.ones(100, np.uint8)
    lookups = [module.of_text(Split(stream, np.array([0, 100])), tmp_path / "text") for module in model.lookups]
    queue = ahead.Ahead(model, model, make_optimizer(model, SETTINGS), stream, SETTINGS, ALONE, lookups)
    queue.take(np.array([0, 5, 9]), 0)  # makes the optimiser's state
    for number in (1, 7):  # a soft gate, and a hard one
        with NoWaiting():
            queue.take(np.array([1, 2, 3]), number)
    assert all(done.finite for done in queue.figures())


def test_only_a_gpu_of_one_process_gets_a_queue() -> None:
    model = build(ladder.recipe("03", "demo"))
    adamw, muon = (make_optimizer(model, replace(SETTINGS, optimizer=name)) for name in ("adamw", "muon"))
    gpu = Group(torch.device("cuda"))
    assert ahead.suits(model, adamw, None, gpu)
    assert not ahead.suits(model, adamw, None, ALONE)
    assert not ahead.suits(model, muon, None, gpu)
    assert not ahead.suits(build(ladder.recipe("19", "demo")), adamw, None, gpu)
    assert not ahead.suits(model, adamw, lambda units, places: None, gpu)  # type: ignore[arg-type, return-value]
