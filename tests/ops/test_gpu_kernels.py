"""The Triton kernels against the reference: on a GPU where there is one, elsewhere in Triton's interpreter.

The interpreter runs them number by number on the CPU, in place of the native kernels: it shows what they compute,
not that a GPU can run them; that they compile for one is shown apart.
"""

import importlib.util
import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from helpers.comparing import both, check, close_to_plain, keeps, run
from helpers.settings import PLAN
from torch import Tensor

from cpu1 import ops
from cpu1.data.split import Split
from cpu1.model import ladder
from cpu1.model.network import build
from cpu1.ops import native, reference
from cpu1.ops.operator import KERNELS
from cpu1.training.ahead import Ahead
from cpu1.training.optim import optimizer
from cpu1.training.parallel import Group
from cpu1.training.step import Windowed, step

if not importlib.util.find_spec("triton"):
    pytest.skip("triton is not installed (it comes with torch for CUDA)", allow_module_level=True)

GPU = torch.cuda.is_available()
if not GPU:  # triton wants to know when it is first imported
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TRITON_INTERPRET", "1")
        importlib.import_module("cpu1.ops.gpu")

pytestmark = pytest.mark.filterwarnings("ignore:.*overrid.*:UserWarning", "ignore:overflow.*:RuntimeWarning")


@pytest.fixture(autouse=True)
def device(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """Where the kernels run: "cuda", or "cpu" with the kernels of CUDA in place of its own."""
    torch.manual_seed(0)
    if GPU:
        with torch.device("cuda"):
            yield "cuda"
        return
    monkeypatch.setenv("TRITON_INTERPRET", "1")
    let_numpy_2_4_count(monkeypatch)
    for name, kernel in KERNELS["CUDA"].items():
        monkeypatch.setitem(KERNELS["CPU"], name, kernel)
    monkeypatch.setattr(native, "_is_fast", lambda name, place: place == "cpu" and name in KERNELS["CUDA"])
    yield "cpu"


def let_numpy_2_4_count(monkeypatch: pytest.MonkeyPatch) -> None:
    """Triton 3.6 takes an array of one number for a number in `range`, which numpy 2.4 refuses."""
    interpreter = importlib.import_module("triton.runtime.interpreter")
    patched = interpreter._patch_lang_tensor

    def patch_more(tensor: object, scope: object) -> None:
        patched(tensor, scope)
        scope.set_attr(tensor, "__index__", lambda self: self.handle.data.item())  # type: ignore[attr-defined]

    monkeypatch.setattr(interpreter, "_patch_lang_tensor", patch_more)


def test_the_interpreter_runs_the_kernels(monkeypatch: pytest.MonkeyPatch) -> None:
    """And nothing else takes their place, so that the other tests show something."""
    scan = importlib.import_module("cpu1.ops.gpu.scan")
    launched = []
    monkeypatch.setattr(scan, "launch", lambda kernel, *_, **__: launched.append(kernel))
    ops.gate_scan(torch.zeros(1, 2, 8), torch.zeros(1, 2, 8))
    assert launched == [scan._gate_scan]


SHAPES = [(1, 1, 1), (2, 1, 5), (2, 7, 40)]


@pytest.fixture(params=["order", "chunks"])
def form(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """How the recurrences go through time. Chunks of four steps: some shapes have two, the last one shorter."""
    monkeypatch.setattr("cpu1.ops.gpu.choice.FORCED", request.param)
    if not GPU:
        monkeypatch.setitem(importlib.import_module("cpu1.ops.gpu.chunks").TILE, "TIME", 4)
    return request.param


def starts(batch: int, time: int, width: int) -> Iterator[tuple[Tensor | None, Tensor | None]]:
    """Some of the ways in which `keep` and the first state may be there."""
    state = torch.randn(batch, width)
    return zip((None, *keeps(batch, time)), (None, state, None, state), strict=True)


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.usefixtures("poisoned", "form")
def test_scans(shape: tuple[int, int, int]) -> None:
    decay = torch.rand(shape[-1]) * 0.98 + 0.01
    for keep, start in starts(*shape):
        check(*both("gate_scan"), torch.randn(shape) * 3, torch.randn(shape), keep, start)
        check(*both("leaky_scan"), torch.randn(shape), decay, keep, start)


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.usefixtures("poisoned", "form")
def test_mlgru_mix(shape: tuple[int, int, int]) -> None:
    batch, time, width = shape
    fcg = torch.randn(batch, time, 3 * width) * 2
    for keep, h0 in starts(*shape):
        check(lambda *x: ops.mlgru_mix(*x)[0], lambda *x: reference.mlgru_mix(*x)[0], fcg, keep, h0)
        torch.testing.assert_close(ops.mlgru_mix(fcg, keep, h0)[1], reference.mlgru_mix(fcg, keep, h0)[1])


@pytest.mark.usefixtures("form")
def test_scan_reads_slices_where_they_lie() -> None:
    f, c, _ = torch.randn(2, 9, 3 * 40).chunk(3, -1)
    assert torch.equal(ops.gate_scan(f, c), ops.gate_scan(f.contiguous(), c.contiguous()))
    turned = torch.randn(9, 2, 40).transpose(0, 1)
    torch.testing.assert_close(ops.gate_scan(turned, c), reference.gate_scan(turned, c))
    torch.testing.assert_close(ops.rms_norm(turned), reference.rms_norm(turned))


@pytest.mark.usefixtures("form")
def test_extreme_gates_reach_their_limits() -> None:
    f, c = torch.tensor([1e4, -1e4]).repeat(2, 6, 20), torch.randn(2, 6, 40)
    check(*both("gate_scan"), f, c, None, torch.randn(2, 40))
    check(*both("gate_scan"), c, f, None, None)
    assert (ops.gate_scan(torch.full_like(f, 1e4), f, None, torch.ones(2, 40)) == 1).all()


@pytest.mark.parametrize("shape", [(1, 1), (2, 3, 7), (9, 33)])
@pytest.mark.usefixtures("poisoned")
def test_norm_and_quantiser(shape: tuple[int, ...], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("cpu1.ops.gpu.launch.PROGRAMS", 4)  # so that some take several rows, and the last one fewer
    x = torch.randn(shape) * torch.logspace(-2, 2, shape[0]).view(-1, *[1] * (len(shape) - 1))
    for gain in (None, torch.randn(shape[-1])):
        check(*both("rms_norm"), x, gain)
        levels = [
            lambda *a, form=form: form(*a, precision="fp32")[2] * 1.0 for form in (ops.quantise, reference.quantise)
        ]
        fast, plain = (run(form, x, gain)[1:] for form in levels)
        for got, want in zip(fast, plain, strict=True):
            torch.testing.assert_close(got, want, rtol=1e-4, atol=1e-5 * float(want.abs().max()))


@pytest.mark.parametrize("shape", [(1, 1), (2, 3, 7), (130, 320)])
@pytest.mark.usefixtures("poisoned")
def test_integers_are_those_of_the_reference(shape: tuple[int, ...]) -> None:
    x = torch.randn(shape) * 10
    x[0] = 0
    for gain in (None, torch.randn(shape[-1])):
        (q, s, _), (plain_q, plain_s, _) = (
            ops.quantise(x, gain),
            reference.quantise(x.cpu(), None if gain is None else gain.cpu()),
        )
        assert torch.equal(q.cpu(), plain_q)
        torch.testing.assert_close(s.cpu(), plain_s, rtol=1e-6, atol=0)
        assert (s[0] == 1).all()
    weight = torch.randn(shape) * 100
    weight = torch.cat([weight.flatten(0, -2), torch.randn(3, shape[-1]), torch.zeros(1, shape[-1])])
    parts = (len(weight) - 4, 3, 1)
    for got, want in zip(ops.ternarise(weight, parts), reference.ternarise(weight.cpu(), parts), strict=True):
        assert torch.equal(got.cpu(), want)


def test_ties() -> None:
    x = torch.tensor([[127.0, 0.5, 1.5, 2.5, -0.5, -1.5, -126.5, -127.0]])
    assert ops.quantise(x)[0].tolist() == [[127, 0, 2, 2, 0, -2, -126, -127]]
    w, scale = ops.ternarise(torch.tensor([[0.0, 0.0], [1.0, 3.0], [1.0, -3.0]]), (1, 2))
    assert w.tolist() == [[0, 0], [0, 1], [0, -1]]
    assert scale.tolist() == [1.0, 2.0]


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
@pytest.mark.filterwarnings("ignore::RuntimeWarning")
def test_what_is_not_finite_is_not_lost(bad: float) -> None:
    x, weight = torch.randn(3, 40), torch.randn(8, 40)
    x[1] = 0
    x[1, 7] = bad
    assert ops.bit_linear(x, weight, (8,)).isnan().any(-1).tolist() == [False, True, False]
    gain = torch.ones(40)
    gain[3] = bad
    assert ops.bit_linear(torch.randn(3, 40), weight, (8,), gain).isnan().all()
    assert ops.bit_linear(torch.randn(3, 40), torch.full((8, 40), bad), (8,)).isnan().all()


@pytest.mark.parametrize("shape", [(1, 320, 960), (3, 1, 1), (16, 7, 5), (17, 33, 70), (64, 864, 32)])
def test_integer_product_is_exact(shape: tuple[int, int, int], device: str, monkeypatch: pytest.MonkeyPatch) -> None:
    from cpu1.ops.gpu.product import integer_product

    plain = torch._int_mm

    def strict(a: Tensor, b: Tensor) -> Tensor:
        """The rules of CUDA, on any device."""
        assert a.shape[0] > 16
        assert a.shape[1] % 8 == 0
        assert b.shape[1] % 8 == 0
        return plain(a, b)

    monkeypatch.setattr(torch, "_int_mm", strict)
    rows, inputs, outputs = shape
    q = torch.randint(-127, 128, (rows, inputs), dtype=torch.int8)
    q[0] = 127  # the largest sums
    w = torch.randint(-1, 2, (outputs, inputs), dtype=torch.int8)
    w[0] = 1
    want = (q.double() @ w.double().T).to(torch.int32)
    with torch.autocast(device, torch.bfloat16):
        assert torch.equal(integer_product(q, w), want)


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
@pytest.mark.parametrize(("shape", "parts", "rank"), [((1, 8), (3, 5), 1), ((2, 9, 64), (64, 7, 130), 4)])
@pytest.mark.usefixtures("poisoned")
def test_ternary_linear(shape: tuple[int, ...], parts: tuple[int, ...], rank: int, precision: str) -> None:
    weight, up, gain = torch.randn(sum(parts), shape[-1]), torch.randn(sum(parts), rank), torch.rand(shape[-1]) + 0.5
    inner = torch.randn(*shape[:-1], len(parts) * rank)

    def apply(x: Tensor, weight: Tensor, gain: Tensor, *path: Tensor) -> Tensor:
        return ops.ternary_linear(ops.quantise(x, gain, precision=precision), weight, parts, *path)

    for path in ((), (inner, up)):
        close_to_plain(apply, (torch.randn(shape), weight, gain, *path), precision)


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
@pytest.mark.parametrize("shape", [(1, 1, 2), (2, 5, 40)])
@pytest.mark.usefixtures("poisoned")
def test_quantiser_after_the_mlgru(shape: tuple[int, int, int], precision: str) -> None:
    """What the two operations give one after the other."""
    batch, time, width = shape
    weight = torch.randn(5, width)

    def fused(*inputs: Tensor) -> Tensor:
        return ops.ternary_linear(ops.mlgru_quantise(*inputs, precision)[0], weight, (5,))

    def apart(fcg: Tensor, gain: Tensor | None, keep: Tensor | None, h0: Tensor | None) -> Tensor:
        mixed, _ = ops.mlgru_mix(fcg, keep, h0)
        return ops.ternary_linear(ops.quantise(mixed, gain, precision=precision), weight, (5,))

    for gain, (keep, h0) in zip((None, torch.rand(width) + 0.5) * 2, starts(*shape), strict=True):
        inputs = torch.randn(batch, time, 3 * width), gain, keep, h0
        for one, two in zip(run(fused, *inputs), run(apart, *inputs), strict=True):
            torch.testing.assert_close(one, two, rtol=1e-4, atol=1e-5 * float(two.abs().max()))


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
@pytest.mark.parametrize(("shape", "width"), [((3, 1, 24), 7), ((2, 9, 64), 70)])
@pytest.mark.usefixtures("poisoned")
def test_product_swiglu_and_quantiser_at_once(shape: tuple[int, int, int], width: int, precision: str) -> None:
    last = torch.randn(5, width)

    def apply(x: Tensor, weight: Tensor, gain: Tensor | None = None) -> Tensor:
        hidden = ops.ternary_swiglu(ops.quantise(x, precision=precision), weight, (width, width), gain)
        return ops.ternary_linear(hidden, last, (5,))

    for gain in ((), (torch.rand(width) + 0.5,)):
        close_to_plain(apply, (torch.randn(shape), torch.randn(2 * width, shape[-1]), *gain), precision)


@pytest.mark.parametrize("levels", [1, 7, 127])
def test_rows_of_tables(levels: int) -> None:
    table = torch.randn(60, 10) * torch.exp(4 * torch.randn(60, 1))
    table[3] = 0
    index = (torch.randint(0, 20, (2, 5, 3)) + torch.arange(3) * 20).int()
    assert torch.equal(ops.gather_rows(table, index, levels), reference.gather_rows(table, index, levels))
    check(lambda t: ops.gather_rows(t, index, levels), lambda t: reference.gather_rows(t, index, levels), table)


@pytest.mark.usefixtures("poisoned")
def test_recall() -> None:
    level = torch.randint(0, 32, (2, 5, 3)) * torch.randint(0, 2, (2, 5, 3))
    codes = torch.stack([*torch.randint(0, 256, (2, 2, 5, 3)), level], -1).to(torch.uint8)
    tensors = [torch.randn(256, 3, 12) for _ in range(2)] + [torch.randn(3, 32, 12) for _ in range(3)]
    fast, plain = (lambda x, *t, form=form: form(x, codes, *t) for form in (ops.recall, reference.recall))
    check(fast, plain, torch.randn(2, 5, 12), *tensors)


@pytest.mark.parametrize("number", ["03", "07", "10"])
def test_a_model_learns_the_same(number: str, device: str) -> None:
    """Loss and gradients of a whole model, beside those of the plain reference on the CPU."""
    units = torch.randint(1, 256, (2, 32), device="cpu")
    recipe = ladder.recipe(number, "demo")
    if not GPU:  # the interpreter is slow
        recipe = replace(recipe, layers=2, width=32)

    def gradients(place: str) -> tuple[Tensor, list[Tensor]]:
        with torch.device("cpu"):
            model = build(recipe).to(place)
        output = model(units.to(place))
        loss = ops.cross_entropy(output.logits.flatten(0, 1), units.to(place).flatten()) / units.numel()
        loss.backward()
        return loss.cpu(), [p.grad.cpu() for p in model.parameters() if p.grad is not None]

    with ops.use_reference():
        want, expected = gradients("cpu")
    got, found = gradients(device)
    torch.testing.assert_close(got, want, rtol=1e-4, atol=0)
    assert len(found) == len(expected)
    for one, two in zip(found, expected, strict=True):
        assert (one - two).norm() <= 1e-2 * two.norm() + 1e-6


@pytest.mark.parametrize("number", ladder.LADDER)
def test_every_run_takes_a_step(number: str, device: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """As `make gpu` trains it, with chunks for the recurrences: the figures of the first step, and what it changed."""
    monkeypatch.setattr("cpu1.ops.gpu.choice.FORCED", "chunks")
    recipe = replace(ladder.recipe(number, "demo"), distill=None)
    settings = replace(PLAN, window=16, batch=2, rate=1e-3, precision="bf16" if GPU else "fp32")
    if not GPU:  # the interpreter is slow
        recipe = replace(recipe, layers=2, width=32)
    with torch.device("cpu"):
        text = torch.randint(1, 256, (100,)).numpy().astype("uint8")
        places, alone = np.array([3, 40]), Group(torch.device("cpu"))
        plain, model = build(recipe).train(), build(recipe).train()
        with ops.use_reference():
            units = torch.from_numpy(text[places[:, None] + np.arange(16)].astype(np.int64))
            lookups = [each.of_text(Split(text, np.array([0, 60, 100])), tmp_path / "text") for each in plain.lookups]
            found = [torch.from_numpy(lookup.windows(places, 16)) for lookup in lookups]
            batch = Windowed(units, places, found)
            want = step(plain, optimizer(plain, settings), batch, 0, replace(settings, precision="fp32"), None, alone)
    model = model.to(device)
    queue = Ahead(model, model, optimizer(model, settings), text, settings, Group(torch.device(device)), lookups)
    (got,) = queue.take(places, 0, wait=True)
    assert got.finite
    assert got.nats == pytest.approx(want.nats, rel=1e-2 if GPU else 1e-4)
    assert got.norm == pytest.approx(want.norm, rel=5e-2 if GPU else 1e-2)
    for name, tensor in model.named_parameters():
        assert (tensor.cpu() - dict(plain.named_parameters())[name]).abs().max() <= 3e-3, name


@pytest.mark.skipif(GPU, reason="they run here")
@pytest.mark.parametrize("architecture", [80, 90])
def test_kernels_compile_for_a_gpu(architecture: int) -> None:
    """By Triton's own compiler, to machine code; no product and sum are fused in it."""
    script = Path(__file__).parents[1] / "helpers" / "compile_gpu_kernels.py"
    done = subprocess.run(
        [sys.executable, script, str(architecture)],
        env=os.environ | {"TRITON_INTERPRET": "0"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    compiled = set(done.stdout.split())
    assert {"_gate_chunks", "_gate_chunks_backward", "_leaky_chunks", "_leaky_chunks_backward"} <= compiled
    assert {"_gate_scan_backward", "_gated_norm_quantise", "_quantise", "_scaled", "_scale_swiglu_gradient"} <= compiled
