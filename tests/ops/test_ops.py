"""Every fast operation against the reference: outputs, gradients, integers; on every instruction set."""

from collections.abc import Callable

import pytest
import torch
from helpers.comparing import Op, both, check, close_to_plain, keeps, plainly, run
from torch import Tensor

from cpu1 import ops
from cpu1.ops import native, products, reference


@pytest.fixture(autouse=True)
def _seed() -> None:
    torch.manual_seed(0)


@pytest.mark.skipif(not ops.native_available(), reason="built without native kernels")
def test_an_unknown_instruction_set_is_refused() -> None:
    with pytest.raises(
        ValueError, match=r"CPU1_TRAIN_ISA: no instruction set 'mmx' on this machine; it has .*portable$"
    ):
        native.train.use_isa("mmx")


SHAPES = [(1, 1, 1), (2, 1, 5), (3, 7, 64), (2, 33, 131), (1, 700, 66)]


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.usefixtures("isa", "poisoned")
def test_gate_scan(shape: tuple[int, int, int]) -> None:
    batch, time, width = shape
    for keep in keeps(batch, time):
        for h0 in (None, torch.randn(batch, width)):
            check(*both("gate_scan"), torch.randn(shape) * 3, torch.randn(shape), keep, h0)


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.usefixtures("isa", "poisoned")
def test_mlgru_mix(shape: tuple[int, int, int]) -> None:
    batch, time, width = shape
    fcg = torch.randn(batch, time, 3 * width) * 2
    for keep in keeps(batch, time):
        for h0 in (None, torch.randn(batch, width)):
            args = (fcg, keep, h0)
            check(lambda *x: ops.mlgru_mix(*x)[0], lambda *x: reference.mlgru_mix(*x)[0], *args)
            last = ops.mlgru_mix(*args)[1]
            torch.testing.assert_close(last, reference.mlgru_mix(*args)[1])
            assert not last.requires_grad


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.usefixtures("isa", "poisoned")
def test_leaky_scan(shape: tuple[int, int, int]) -> None:
    batch, time, width = shape
    decay = torch.rand(width) * 0.98 + 0.01
    for keep in keeps(batch, time):
        for m0 in (None, torch.randn(batch, width)):
            check(*both("leaky_scan"), torch.randn(shape), decay, keep, m0)


@pytest.mark.usefixtures("isa")
def test_scan_reads_slices_where_they_lie() -> None:
    stacked = torch.randn(2, 9, 3 * 70)
    f, c, _ = stacked.chunk(3, -1)
    assert torch.equal(ops.gate_scan(f, c), ops.gate_scan(f.contiguous(), c.contiguous()))
    turned = torch.randn(9, 2, 70).transpose(0, 1)
    torch.testing.assert_close(ops.gate_scan(turned, c[..., :70]), reference.gate_scan(turned, c[..., :70]))
    torch.testing.assert_close(ops.rms_norm(turned), reference.rms_norm(turned))


@pytest.mark.parametrize("size", [50.0, 1e4, 1e30])
@pytest.mark.usefixtures("isa")
def test_extreme_gates_reach_their_limits(size: float) -> None:
    f = torch.tensor([size, -size]).repeat(2, 6, 33)
    c = torch.randn(2, 6, 66)
    check(*both("gate_scan"), f, c, None, torch.randn(2, 66))
    check(*both("gate_scan"), c, f, None, None)
    held = ops.gate_scan(torch.full_like(f, size), f, None, torch.ones(2, 66))
    assert (held == 1).all()  # a shut gate keeps the state, whatever knocks
    gate_up = torch.tensor([size, -size, 0.5, -2.0]).repeat(3, 1)
    torch.testing.assert_close(ops.swiglu(gate_up), reference.swiglu(gate_up), rtol=1e-6, atol=1e-6)


@pytest.mark.usefixtures("isa")
def test_nan_is_not_lost() -> None:
    x = torch.randn(3, 40)
    x[1, 7] = float("nan")
    weight = torch.randn(8, 40)
    for y in (ops.rms_norm(x), ops.swiglu(x), ops.bit_linear(x, weight, (8,))):
        assert y.isnan().any(-1).tolist() == [False, True, False]
    assert ops.bit_linear(torch.randn(3, 40), torch.full((8, 40), float("nan")), (8,)).isnan().all()
    fcg = torch.randn(1, 5, 120)
    fcg[0, 2, 3] = float("nan")
    assert ops.mlgru_mix(fcg)[0].isnan().any(-1).tolist() == [[False, False, True, True, True]]
    x = torch.randn(3, 40)
    x[1, 7] = float("inf")
    assert ops.bit_linear(x, weight, (8,)).isnan().any(-1).tolist() == [False, True, False]


@pytest.mark.parametrize("bad", ["nan", "inf"])
@pytest.mark.parametrize("precision", ["fp32", "bf16"])
@pytest.mark.usefixtures("isa")
def test_gradients_that_are_not_finite_are_not_lost(precision: str, bad: str) -> None:
    x, weight = torch.randn(3, 40, requires_grad=True), torch.randn(8, 40, requires_grad=True)
    dy = torch.randn(3, 8)
    dy[1, 5] = float(bad)
    ops.bit_linear(x, weight, (8,), precision=precision).backward(dy)
    assert x.grad is not None
    assert weight.grad is not None
    assert x.grad.isfinite().all(-1).tolist() == [True, False, True]
    assert not weight.grad[5].isfinite().any()


@pytest.mark.parametrize("shape", [(1, 1), (2, 3, 7), (130, 320), (5, 864), (2, 9001)])
@pytest.mark.usefixtures("isa", "poisoned")
def test_row_operations(shape: tuple[int, ...]) -> None:
    x = torch.randn(shape) * torch.logspace(-2, 2, shape[0]).view(-1, *[1] * (len(shape) - 1))
    check(*both("rms_norm"), x)
    check(*both("rms_norm"), x, torch.randn(shape[-1]))
    check(*both("swiglu"), torch.cat([x, torch.randn(shape)], -1))


@pytest.mark.parametrize("shape", [(1, 1), (2, 3, 7), (130, 320), (1500, 1376)])
@pytest.mark.usefixtures("isa", "poisoned")
def test_quantise(shape: tuple[int, ...]) -> None:
    x = torch.randn(shape) * 10
    x[0] = 0
    for gain in (None, torch.randn(shape[-1])):
        q, s, _ = ops.quantise(x, gain)
        plain_q, plain_s, levels = reference.quantise(x, gain)
        assert torch.equal(levels.round(), plain_q.float())
        assert torch.equal(q, plain_q)  # integers, the same on every instruction set
        torch.testing.assert_close(s, plain_s, rtol=1e-6, atol=0)
        normed = reference.rms_norm(x.double(), None if gain is None else gain.double())
        assert ((normed / s[..., None].double()) - q).abs().max() < 0.5 + 1e-4
        assert (q[0] == 0).all()
        assert (s[0] == 1).all()


@pytest.mark.usefixtures("isa")
def test_quantise_rounds_ties_to_even() -> None:
    x = torch.tensor([[127.0, 0.5, 1.5, 2.5, -0.5, -1.5, -126.5, -127.0]])
    assert ops.quantise(x)[0].tolist() == [[127, 0, 2, 2, 0, -2, -126, -127]]


@pytest.mark.parametrize(("parts", "inputs"), [((1,), 1), ((5, 1, 70), 33), ((320, 320, 320), 320)])
@pytest.mark.usefixtures("isa", "poisoned")
def test_ternarise(parts: tuple[int, ...], inputs: int) -> None:
    weight = torch.randn(sum(parts), inputs)
    weight[: parts[0]] *= 100  # each part has its own scale
    w, scale = ops.ternarise(weight, parts)
    plain_w, plain_scale = reference.ternarise(weight, parts)
    assert torch.equal(w, plain_w)
    assert torch.equal(scale, plain_scale)
    for piece, matrix, gamma in zip(w.split(parts), weight.split(parts), scale, strict=True):
        exact = (matrix.double() / gamma.double()).round().clamp(-1, 1)
        assert torch.equal(piece.double(), exact)


@pytest.mark.usefixtures("isa")
def test_ternarise_edges() -> None:
    weight = torch.tensor([[0.0, 0.0], [1.0, 3.0], [1.0, -3.0]])  # a zero part; |W| = γ/2 rounds to 0
    w, scale = ops.ternarise(weight, (1, 2))
    assert w.tolist() == [[0, 0], [0, 1], [0, -1]]
    assert scale.tolist() == [1.0, 2.0]


@pytest.mark.parametrize("sums_bytes", [True, False])
@pytest.mark.parametrize("shape", [(1, 320, 960), (3, 1, 1), (16, 7, 5), (17, 33, 70), (53, 48, 16), (1024, 864, 32)])
@pytest.mark.usefixtures("isa")
def test_integer_product_is_exact(
    shape: tuple[int, int, int], sums_bytes: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(products, "sums_bytes", lambda: sums_bytes)
    rows, inputs, outputs = shape
    q = torch.randint(-127, 128, (rows, inputs), dtype=torch.int8)
    q[0] = 127  # the largest sums
    w = torch.randint(-1, 2, (outputs, inputs), dtype=torch.int8)
    w[0] = 1
    want = (q.double() @ w.double().T).to(torch.int32)
    assert torch.equal(products.integer_product(q, w), want)
    assert torch.equal(products.integer_product(q, w.t(), transposed=True), want)
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(products.integer_product(q, w), want)


@pytest.mark.parametrize("shape", [(1, 16, 16), (33, 48, 32), (512, 80, 16), (1027, 160, 112)])
@pytest.mark.usefixtures("isa")
def test_a_gradient_of_weights_is_summed_in_shorts(shape: tuple[int, int, int]) -> None:
    if not native.train.has_integer_product():
        pytest.skip("no 16-bit product on this instruction set")
    count, outputs, inputs = shape
    dy = (torch.randn(count, outputs) * torch.rand(count, 1)).bfloat16()
    dy[:, 0], dy[:, 1] = 3.0, 0.0  # the largest sums, and none
    q = torch.randint(-127, 128, (count, inputs), dtype=torch.int8)
    q[:, 0] = 127
    row_scale = torch.rand(outputs) + 0.5
    want = dy.double().T @ q.double() / row_scale.double()[:, None]
    got = products.weight_gradient(dy, q, row_scale)
    assert got.dtype == torch.float32
    assert torch.equal(got[1], torch.zeros(inputs))
    assert ((got.double() - want).norm(dim=1) <= 1e-4 * want.norm(dim=1)).all()
    before = torch.get_num_threads()
    torch.set_num_threads(2 if before == 1 else 1)
    try:
        assert torch.equal(products.weight_gradient(dy, q, row_scale), got)
    finally:
        torch.set_num_threads(before)


@pytest.mark.parametrize("value", [float("inf"), float("-inf"), float("nan")])
@pytest.mark.usefixtures("isa")
def test_a_gradient_in_shorts_that_is_not_finite_stays_so(value: float) -> None:
    if not native.train.has_integer_product():
        pytest.skip("no 16-bit product on this instruction set")
    dy, q = torch.ones(600, 32).bfloat16(), torch.ones(600, 16, dtype=torch.int8)
    dy[599, 5] = value
    got = products.weight_gradient(dy, q, torch.ones(32))
    assert not got[5].isfinite().any()
    assert (got[:5] == 600).all()
    assert (got[6:] == 600).all()


@pytest.mark.parametrize("multiplies", [True, False])
def test_a_product_of_bf16_is_rounded_once(multiplies: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(products, "multiplies_bf16", lambda: multiplies)
    a, b = torch.randn(33, 320).bfloat16(), torch.randn(320, 48).bfloat16()
    for left, right in ((a, b), (b.t(), a.t())):
        got, exact = products.product(left, right), left.double() @ right.double()
        assert got.dtype == torch.bfloat16
        assert ((got.double() - exact).abs() <= 2**-8 * exact.abs() + 1e-4).all()


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
@pytest.mark.parametrize(("shape", "parts"), [((1, 320), (3, 5)), ((2, 9, 64), (64, 64, 64)), ((130, 33), (1,))])
@pytest.mark.usefixtures("isa", "poisoned")
def test_bit_linear(shape: tuple[int, ...], parts: tuple[int, ...], precision: str) -> None:
    x = torch.randn(shape) * 4
    x[0] = 0
    weight = torch.randn(sum(parts), shape[-1])
    for gain in (None, torch.rand(shape[-1]) + 0.5):
        inputs = (x, weight) if gain is None else (x, weight, gain)

        def apply(form: Op, x: Tensor, weight: Tensor, gain: Tensor | None = None) -> Tensor:
            return form(x, weight, parts, gain, precision=precision)

        fast = run(lambda *args: apply(ops.bit_linear, *args), *inputs)
        plain = run(plainly(lambda *args: apply(ops.bit_linear, *args)), *inputs)
        torch.testing.assert_close(fast[0], plain[0], rtol=2e-6, atol=1e-9)
        for got, want in zip(fast[1:], plain[1:], strict=True):
            assert got.dtype == torch.float32
            error = (got - want).norm() / (want.norm() + 1e-9)
            assert error < (1e-2 if precision == "bf16" else 1e-5)


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
@pytest.mark.parametrize(("shape", "parts", "rank"), [((1, 8), (3, 5), 1), ((2, 9, 64), (64, 7, 64), 4)])
@pytest.mark.usefixtures("isa", "poisoned")
def test_low_rank_path_beside_a_ternary_product(
    shape: tuple[int, ...], parts: tuple[int, ...], rank: int, precision: str
) -> None:
    def apply(x: Tensor, weight: Tensor, inner: Tensor, up: Tensor) -> Tensor:
        return ops.ternary_linear(ops.quantise(x, precision=precision), weight, parts, inner, up)

    weight, up = torch.randn(sum(parts), shape[-1]), torch.randn(sum(parts), rank)
    inputs = torch.randn(shape), weight, torch.randn(*shape[:-1], len(parts) * rank), up
    close_to_plain(apply, inputs, precision)


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
@pytest.mark.parametrize("shape", [(1, 1, 2), (2, 9, 64), (1, 130, 1376)])
@pytest.mark.usefixtures("isa", "poisoned")
def test_quantisers_fused_with_what_comes_before(shape: tuple[int, int, int], precision: str) -> None:
    """Bit by bit what the two operations give one after the other."""
    batch, time, width = shape
    weight, gain = torch.randn(5, width), torch.rand(width) + 0.5

    def finish(mixed: reference.Quantised) -> Tensor:
        return ops.ternary_linear(mixed, weight, (5,))

    def same(fused: Op, apart: Op, *inputs: Tensor | None) -> None:
        one, two = run(fused, *inputs), run(apart, *inputs)
        assert len(one) == len(two)
        assert all(map(torch.equal, one, two))

    for gained in (None, gain):
        for keep in keeps(batch, time):
            same(
                lambda x, g, k, h: finish(ops.mlgru_quantise(x, g, k, h, precision)[0]),
                lambda x, g, k, h: finish(ops.quantise(ops.mlgru_mix(x, k, h)[0], g, precision=precision)),
                *(torch.randn(batch, time, 3 * width), gained, keep, torch.randn(batch, width)),
            )


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
@pytest.mark.parametrize(("shape", "width"), [((1, 1, 2), 7), ((2, 9, 64), 70), ((1, 130, 33), 1376)])
@pytest.mark.usefixtures("isa", "poisoned")
def test_product_swiglu_and_quantiser_at_once(shape: tuple[int, int, int], width: int, precision: str) -> None:
    parts, last = (width, width), torch.randn(5, width)

    def fused(x: Tensor, weight: Tensor, gain: Tensor | None = None) -> Tensor:
        hidden = ops.ternary_swiglu(ops.quantise(x, precision=precision), weight, parts, gain)
        return ops.ternary_linear(hidden, last, (5,))

    def apart(x: Tensor, weight: Tensor, gain: Tensor | None = None) -> Tensor:
        hidden = ops.swiglu(ops.bit_linear(x, weight, parts, precision=precision))
        return ops.bit_linear(hidden, last, (5,), gain, precision=precision)

    for gain in (None, torch.rand(width) + 0.5):
        inputs = torch.randn(shape), torch.randn(2 * width, shape[-1]), gain
        (y, *got), (expected, *want) = run(fused, *inputs), run(apart, *inputs)
        assert torch.equal(y, expected)  # what is deployed
        for one, two in zip(got, want, strict=True):
            assert (one - two).norm() <= (2e-2 if precision == "bf16" else 1e-5) * two.norm() + 1e-6


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
@pytest.mark.parametrize("shape", [(1, 7), (2, 5, 64), (130, 96)])
@pytest.mark.usefixtures("isa", "poisoned")
def test_relu2_mlp(shape: tuple[int, ...], precision: str) -> None:
    width, hidden = shape[-1], 33
    weights = torch.randn(hidden, width), torch.randn(hidden), torch.randn(width, hidden) / 6, torch.randn(width)
    close_to_plain(lambda *x: ops.relu2_mlp(*x, precision=precision), (torch.randn(shape), *weights), precision)


@pytest.mark.usefixtures("isa", "poisoned")
def test_branch() -> None:
    for shape in ((1, 1, 1), (2, 9, 70)):
        for keep in keeps(*shape[:2]):
            check(*both("branch"), torch.randn(shape), torch.randn(shape), keep)
            if keep is not None:
                tensors = (torch.randn(shape), torch.randn(shape), keep)
                close_to_plain(lambda *x: ops.branch(*x, precision="bf16"), tensors, "bf16")


@pytest.mark.usefixtures("isa", "poisoned")
def test_look_back() -> None:
    for batch, units, width, taps in ((1, 1, 1, 1), (2, 9, 70, 3), (3, 300, 192, 5)):
        stream = torch.randint(0, 12, (batch, taps + units))
        stream[:, :taps] = 11  # absent, as are some inside
        vectors = torch.randn(11, taps, width)
        check(
            lambda base, vectors, s=stream: ops.look_back(base, vectors, s),
            lambda base, vectors, s=stream: reference.look_back(base, vectors, s),
            *(torch.randn(batch, units, width), vectors),
        )
    base, one = torch.zeros(1, 2, 1), torch.tensor([[[1.0], [10.0]], [[2.0], [20.0]]])
    assert ops.look_back(base, one, torch.tensor([[0, 1, 1, 0]])).flatten().tolist() == [12.0, 22.0]


@pytest.mark.parametrize("shape", [(1, 1), (5, 256), (70, 1000)])
@pytest.mark.usefixtures("isa", "poisoned")
def test_cross_entropy(shape: tuple[int, int]) -> None:
    target, weight = torch.randint(0, shape[1], shape[:1]), torch.rand(shape[0])
    for scale in (1.0, 60.0):
        logits = torch.randn(shape) * scale
        fast, plain = (lambda x, w=None, f=form: f(x, target, w) for form in both("cross_entropy"))
        check(fast, plain, logits)
        check(fast, plain, logits, weight)


@pytest.mark.usefixtures("isa")
def test_cross_entropy_of_an_unknown_symbol_is_nan() -> None:
    if ops.native_available():
        assert ops.cross_entropy(torch.zeros(2, 4), torch.tensor([1, 4])).isnan()
        assert ops.cross_entropy(torch.tensor([[float("nan"), 0.0]]), torch.tensor([1])).isnan()


@pytest.mark.skipif(not ops.native_available(), reason="built without native kernels")
def test_torch_knows_the_operators() -> None:
    """Schemas, shapes for tracers and registered gradients agree with what the kernels do."""

    def of(*shape: int) -> Tensor:
        return torch.randn(*shape, requires_grad=True)

    keep, parts = torch.rand(2, 5, requires_grad=True), [4, 6]
    known = torch.ops.cpu1
    q, s, _, levels = known.quantise(torch.randn(2, 5, 8), None, 1e-6, False)
    levels = levels.detach().requires_grad_()
    calls = [
        (known.rms_norm, of(2, 5, 8), of(8), 1e-6),
        (known.swiglu, of(2, 5, 8)),
        (known.branch, of(2, 5, 8), of(2, 5, 8), keep, False),
        (known.branch, of(2, 5, 8), of(2, 5, 8), keep, True),
        (known.gate_scan, of(2, 5, 8), of(2, 5, 8), keep, of(2, 8)),
        (known.leaky_scan, of(2, 5, 8), torch.rand(8, requires_grad=True), keep, of(2, 8)),
        (known.mlgru_mix, of(2, 5, 24), keep, of(2, 8)),
        (known.mlgru_quantise, of(2, 5, 24), of(8), keep, of(2, 8), True),
        (known.quantise, of(2, 5, 8), None, 1e-6, True),
        (known.ternarise, torch.randn(10, 8), parts),
        (known.ternary_swiglu, levels, q, s, of(10, 8), [5, 5], of(5), 1e-6),
        (known.ternary_linear, levels, q, s, of(10, 8), parts, of(2, 5, 4), of(10, 2)),
        (known.linear, of(2, 5, 8), of(3, 8), of(3), True),
        (known.relu2_mlp, of(2, 5, 8), of(9, 8), of(9), of(8, 9), of(8)),
        (known.look_back, of(2, 5, 8), of(7, 3, 8), torch.randint(0, 8, (2, 8))),
        (known.cross_entropy, of(5, 9), torch.randint(0, 9, (5,))),
    ]
    # not "test_aot_dispatch_dynamic": it compares with gradients of outputs that have none
    for op, *arguments in calls:
        torch.library.opcheck(
            op.default, tuple(arguments), test_utils=("test_schema", "test_autograd_registration", "test_faketensor")
        )


def test_a_model_can_be_traced_whole() -> None:
    """torch.compile sees no break in the graph, and the gradients are the same."""
    from cpu1.model import ladder
    from cpu1.model.network import build

    model = build(ladder.recipe("07", "demo"))
    units = torch.randint(1, 256, (2, 32))
    traced = torch.compile(model, backend="aot_eager", fullgraph=True)
    gradients = []
    for form in (model, traced):
        model.zero_grad()
        form(units).logits.square().mean().backward()
        gradients.append([p.grad.clone() for p in model.parameters() if p.grad is not None])
    assert len(gradients[0]) == len(gradients[1])
    for one, two in zip(*gradients, strict=True):
        torch.testing.assert_close(one, two)


def test_straight_through_gradients_are_those_of_the_dequantised_product() -> None:
    x, weight = torch.randn(6, 10, dtype=torch.float64), torch.randn(4, 10, dtype=torch.float64)
    q, s, _ = reference.quantise(x)
    w, scale = reference.ternarise(weight, (4,))
    _, dx, dweight = run(lambda x, weight: ops.bit_linear(x, weight, (4,)), x, weight)  # float64: the reference
    _, dnormed, dternary = run(lambda a, b: a @ b.T, q * s[:, None], w * scale)
    _, through_norm = run(lambda x: (reference.rms_norm(x) * dnormed).sum()[None] / -1, x)
    torch.testing.assert_close(dweight, dternary)
    torch.testing.assert_close(dx, through_norm)


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
@pytest.mark.parametrize("shape", [(1, 7), (2, 5, 64)])
def test_linear(shape: tuple[int, ...], precision: str) -> None:
    tolerance = 1e-5 if precision == "fp32" else 2e-2
    for bias in (None, torch.randn(33)):
        check(
            *both("linear"), torch.randn(shape), torch.randn(33, shape[-1]), bias, rtol=tolerance, precision=precision
        )


def test_cross_entropy_sums_nats() -> None:
    logits, target, weight = torch.zeros(3, 256), torch.tensor([0, 7, 255]), torch.tensor([1.0, 0.0, 0.5])
    torch.testing.assert_close(ops.cross_entropy(logits, target) / 3, torch.tensor(256.0).log())
    torch.testing.assert_close(ops.cross_entropy(logits, target, weight) / 1.5, torch.tensor(256.0).log())


def test_reference_gradients() -> None:
    def of(*shape: int) -> Tensor:
        return torch.randn(*shape, dtype=torch.float64, requires_grad=True)

    keep = torch.rand(2, 5, dtype=torch.float64, requires_grad=True)
    decay = torch.rand(3, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(reference.gate_scan, (of(2, 5, 3), of(2, 5, 3), keep, of(2, 3)))
    assert torch.autograd.gradcheck(reference.leaky_scan, (of(2, 5, 3), decay, keep, of(2, 3)))
    assert torch.autograd.gradcheck(lambda *x: reference.mlgru_mix(*x)[0], (of(2, 5, 9), keep, of(2, 3)))
    assert torch.autograd.gradcheck(reference.rms_norm, (of(4, 5), of(5)))
    assert torch.autograd.gradcheck(reference.swiglu, (of(4, 6),))
    assert torch.autograd.gradcheck(reference.branch, (of(2, 5, 3), of(2, 5, 3), keep))
    assert torch.autograd.gradcheck(reference.relu2_mlp, (of(4, 3), of(6, 3), of(6), of(3, 6), of(3)))
    stream = torch.randint(0, 8, (2, 8))
    assert torch.autograd.gradcheck(lambda *x: reference.look_back(*x, stream), (of(2, 5, 3), of(7, 3, 3)))


@pytest.mark.usefixtures("isa")
def test_threads_change_no_bit() -> None:
    def everything() -> list[Tensor]:
        torch.manual_seed(1)
        fcg, keep, h0 = torch.randn(3, 70, 3 * 130), torch.rand(3, 70), torch.randn(3, 130)
        x, gain, weight = torch.randn(210, 130), torch.rand(130), torch.randn(96, 130)
        return [
            *run(lambda *args: ops.mlgru_mix(*args)[0], fcg, keep, h0),
            *run(ops.leaky_scan, fcg, torch.rand(390), keep, None),
            *run(ops.rms_norm, x, gain),
            *run(ops.swiglu, x),
            *run(lambda x, weight, gain: ops.bit_linear(x, weight, (64, 32), gain), x, weight, gain),
            *run(
                lambda x, w: ops.ternary_linear(ops.ternary_swiglu(ops.quantise(x), w, (48, 48)), w[:, :48], (96,)),
                *(x, weight),
            ),
            *run(lambda *a: ops.ternary_linear(ops.mlgru_quantise(*a)[0], weight, (96,)), fcg, gain, keep, h0),
            *run(lambda *a: ops.relu2_mlp(*a, precision="bf16"), x, weight, gain[:96], weight.T, gain),
            *run(lambda x, v: ops.look_back(x, v, torch.arange(213)[None] % 50), x[None], torch.randn(50, 3, 130)),
            *run(lambda x: ops.cross_entropy(x, torch.arange(210) % 130), x),
            *run(ops.branch, x[None], x[None], keep.flatten()[None]),
        ]

    threads = torch.get_num_threads()
    try:
        torch.set_num_threads(1)
        alone = everything()
        torch.set_num_threads(2)
        together = everything()
    finally:
        torch.set_num_threads(threads)
    assert all(map(torch.equal, alone, together))


def test_wrong_sizes_are_refused() -> None:
    wrong: list[Callable[[], object]] = [
        lambda: ops.gate_scan(torch.randn(2, 3, 4), torch.randn(2, 3, 5)),
        lambda: ops.gate_scan(torch.randn(2, 3, 4), torch.randn(2, 3, 4), keep=torch.randn(2, 4)),
        lambda: ops.mlgru_mix(torch.randn(2, 3, 10)),
        lambda: ops.leaky_scan(torch.randn(2, 3, 4), torch.rand(5)),
        lambda: ops.rms_norm(torch.randn(2, 3), torch.randn(4)),
        lambda: ops.swiglu(torch.randn(2, 3)),
        lambda: ops.ternarise(torch.randn(4, 3), (2, 1)),
        lambda: ops.bit_linear(torch.randn(2, 3), torch.randn(4, 5), (4,)),
    ]
    for call in wrong:
        with pytest.raises((ValueError, RuntimeError)):
            call()


def test_reference_can_be_forced() -> None:
    x = torch.randn(2, 3, 8)
    with ops.use_reference():
        y = ops.swiglu(x.requires_grad_())
    assert "cpu1" not in type(y.grad_fn).__name__
    if ops.native_available():
        assert "cpu1" in type(ops.swiglu(x).grad_fn).__name__


def test_retained_memory_still_serves() -> None:
    if ops.retain_memory():
        assert torch.ones(10_000_000).sum() == 10_000_000  # beyond what glibc would map by itself
