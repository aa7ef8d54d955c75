"""Which form of an operation runs where; no GPU and no triton is needed to see that."""

import subprocess
import sys

import numpy as np
import pytest
import torch
from helpers.settings import PLAN
from torch._subclasses.fake_tensor import FakeTensorMode

from cpu1 import ops
from cpu1.model import ladder
from cpu1.model.network import Model
from cpu1.ops import native, reference
from cpu1.ops.operator import KERNELS
from cpu1.training.lessons import ModelTeacher
from cpu1.training.parallel import Group
from cpu1.training.step import losses

TRITON_LESS = """
import sys
sys.modules["triton"] = None  # as if it were not installed
import torch
from cpu1 import ops
from cpu1.ops.operator import KERNELS
assert not KERNELS["CUDA"]
assert ops.rms_norm(torch.ones(2, 3)).shape == (2, 3)
"""


def chosen(*tensors: torch.Tensor) -> str:
    """Which of the two forms of an operation named rms_norm the tensors are given to."""

    def rms_norm(*_: torch.Tensor) -> str:
        return "reference"

    return native.fast_form_of(rms_norm)(lambda *_: "fast form")(*tensors)


def test_a_gpu_takes_the_operations_that_have_kernels_for_it(monkeypatch: pytest.MonkeyPatch) -> None:
    with FakeTensorMode():  # devices and types without values
        x, symbols = torch.empty(2, 8, device="cuda"), torch.empty(2, dtype=torch.int64, device="cuda")
        quantised = reference.Quantised(symbols, x, x.bfloat16())
        monkeypatch.setitem(KERNELS, "CUDA", {"swiglu": None})
        assert chosen(x) == "reference"
        monkeypatch.setitem(KERNELS, "CUDA", {"rms_norm": None})
        assert chosen(x) == chosen(x, symbols) == chosen(quantised, x) == "fast form"
        assert chosen(x.double()) == chosen(x.bfloat16()) == chosen(x, torch.empty(2)) == "reference"
        with ops.use_reference():
            assert chosen(x) == "reference"


def test_a_cpu_takes_the_native_kernels_where_they_were_built(monkeypatch: pytest.MonkeyPatch) -> None:
    x = torch.empty(2, 8)
    monkeypatch.setattr(native, "train", object())
    assert chosen(x) == "fast form"
    assert chosen(x.double()) == chosen(x.to("meta")) == "reference"
    monkeypatch.setattr(native, "train", None)
    assert chosen(x) == "reference"


@pytest.mark.skipif(torch.cuda.is_available(), reason="triton is wanted here")
def test_without_a_gpu_triton_is_not_asked_for() -> None:
    subprocess.run([sys.executable, "-c", TRITON_LESS], check=True)


ON_DEVICE = [run for run in ladder.LADDER if run != "19"]  # where its patches end is computed on the host


@pytest.mark.parametrize("run", ON_DEVICE)
def test_a_step_stays_on_its_device(run: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The meta device computes nothing, but like a GPU it refuses tensors that lie elsewhere."""
    monkeypatch.setattr(torch, "is_autocast_enabled", lambda *_: False)  # autocast does not know it
    meta = torch.device("meta")
    model = Model(ladder.recipe(run, "demo")).train().to(meta)
    units = torch.zeros(2, 64, dtype=torch.int64, device=meta)
    found = [torch.from_numpy(np.stack(2 * [m.reader().read(np.zeros(64))])).to(meta) for m in model.lookups]
    lesson = ModelTeacher(model, PLAN, model.distill.size)(units, np.zeros(2)) if model.distill else None
    objective, means = losses(model, model(units, found=found), units, lesson, Group(meta))
    objective.backward()
    assert means.device == meta
    assert {tensor.grad.device for tensor in model.parameters()} == {meta}
    if model.lookups:  # which read their bytes on the host
        return
    state = model.start()
    logits, state = model.extend(units[:1], state)
    assert logits.device == model.next_logits(units[:1, :0], state).device == meta
