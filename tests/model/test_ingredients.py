"""Each ingredient against a slow, obvious loop in float64: outputs and gradients."""

import math

import pytest
import torch
from torch import Tensor

from cpu1 import ops
from cpu1.errors import UserError
from cpu1.model import ladder
from cpu1.model.ingredients import (
    Attention,
    DeleteGate,
    FoldedAttention,
    LocalByteDecoder,
    PFNet,
    ReLU2,
    SwiGLU,
    Ternary,
)
from cpu1.model.ingredients.delete_gate import PROBES
from cpu1.model.ingredients.embedding import ABSENT, BolmoPatchEmbedding
from cpu1.model.ingredients.linear import TernaryProjection
from cpu1.model.ingredients.pfnet import starting_theta
from cpu1.model.network import build, init_weights

torch.manual_seed(0)
WIDTH, STEPS = 32, 12


def double(module: torch.nn.Module, seed: int = 0) -> torch.nn.Module:
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for tensor in module.parameters():
            tensor.copy_(torch.randn(tensor.shape, generator=generator) / tensor.shape[-1] ** 0.5)
    return module.double()


def compare(module: torch.nn.Module, fast, slow, *inputs: Tensor) -> None:
    """Outputs and the gradients of all parameters and inputs agree."""
    results = []
    for function in (fast, slow):
        leaves = [x.clone().requires_grad_() if x.is_floating_point() else x for x in inputs]
        module.zero_grad()
        y = function(*leaves)
        weight = torch.linspace(-1, 1, y.numel(), dtype=y.dtype).view_as(y)
        (y * weight).sum().backward()
        gradients = [p.grad for p in module.parameters()] + [x.grad for x in leaves if x.is_floating_point()]
        results.append([y.detach(), *(torch.zeros(()) if g is None else g.clone() for g in gradients)])
    for ours, theirs in zip(*results, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-6, atol=1e-8)


def norm(x: Tensor) -> Tensor:
    return x / (x.square().mean() + 1e-6).sqrt()


def turn(x: Tensor, position: int) -> Tensor:
    """Rotates the pairs (2 i, 2 i + 1) of one head's vector by position / 10000^(i / half)."""
    out = []
    for i in range(len(x) // 2):
        angle = position / 10_000 ** (2 * i / len(x))
        cos, sin = math.cos(angle), math.sin(angle)
        out += [x[2 * i] * cos - x[2 * i + 1] * sin, x[2 * i + 1] * cos + x[2 * i] * sin]
    return torch.stack(out)


@pytest.mark.parametrize("gated", [False, True])
@pytest.mark.parametrize("config", [Attention(16), FoldedAttention(16, segment=3)], ids=["whole", "folded"])
def test_attention(config, gated):
    recipe = ladder.recipe("02", "demo").replace(width=WIDTH, mixer=config)
    module = double(config.build(recipe))
    x = torch.randn(1, STEPS, WIDTH, dtype=torch.float64)
    keep = torch.rand(1, STEPS, dtype=torch.float64) if gated else None
    segment = getattr(config, "segment", None)

    def slow(x: Tensor, *rest: Tensor) -> Tensor:
        keep = rest[0][0] if rest else None
        rows = torch.stack([norm(row) @ module.input.weight.t() for row in x[0]])
        outs = []
        for t in range(STEPS):
            heads = []
            for h in range(WIDTH // 16):
                pick = [slice(p * WIDTH + 16 * h, p * WIDTH + 16 * h + 16) for p in range(3)]
                query = turn(norm(rows[t, pick[0]]), t)
                seen = [s for s in range(t + 1) if segment is None or t // segment - s // segment <= 1]
                scores = []
                for s in seen:
                    score = query @ turn(norm(rows[s, pick[1]]), s) / 4
                    scores.append(score + keep[s].log() if keep is not None and s != t else score)
                weights = torch.stack(scores).softmax(0)
                heads.append(sum(w * rows[s, pick[2]] for w, s in zip(weights, seen, strict=True)))
            outs.append(torch.cat(heads) @ module.output.weight.t())
        return torch.stack(outs)[None]

    if gated:
        compare(module, lambda x, k: module(x, None, k)[0], slow, x, keep)
    else:
        compare(module, lambda x: module(x, None, None)[0], slow, x)


@pytest.mark.parametrize("segment", [4, 64])
def test_folded_state_is_bounded(segment):
    recipe = ladder.recipe("08", "demo").replace(mixer=FoldedAttention(32, segment))
    module = FoldedAttention(32, segment).build(recipe)
    double(module).float()
    state = None
    for _ in range(200):
        _, state = module(torch.randn(1, 1, recipe.width), state, None)
        assert state.key.shape[2] <= 2 * segment


@pytest.mark.parametrize("back", [1, 3, 5])
def test_local_byte_decoder(back):
    config = LocalByteDecoder(width=12, hidden=20, look_back=back)
    module = double(config.build(WIDTH, 257, 4))
    table = torch.randn(257, WIDTH // 4, dtype=torch.float64)
    s = torch.randn(2, 3, WIDTH, dtype=torch.float64)
    units = torch.randint(0, 256, (2, 12))
    recent = torch.tensor([[ABSENT, ABSENT, ABSENT, ABSENT, 7], [9, 8, 1, 2, 3]])[:, -back:]

    def slow(s: Tensor, table: Tensor) -> Tensor:
        rows = []
        for b in range(2):
            stream = recent[b].tolist() + units[b].tolist()
            for i in range(12):
                slot, t = i % 4, i // 4
                x = module.slots[12 * slot : 12 * slot + 12] @ s[b, t]
                for k in range(1, back + 1):
                    byte = stream[back + i - k]
                    if byte != ABSENT:
                        x = x + module.back[k - 1] @ table[byte]
                inner = (module.up @ norm(x) + module.up_bias).relu() ** 2
                x = x + module.down @ inner + module.down_bias
                rows.append(module.output @ norm(x) + module.output_bias)
        return torch.stack(rows).view(2, 3, 4, 257)

    compare(module, lambda s, table: module(s, units, recent, table), slow, s, table)


@pytest.mark.parametrize("back", [1, 5, 8])
@torch.no_grad()
def test_a_byte_is_seen_by_exactly_the_next_look_back_predictions(back):
    module = double(LocalByteDecoder(width=12, hidden=20, look_back=back).build(WIDTH, 257, 4))
    table, s = torch.randn(257, WIDTH // 4, dtype=torch.float64), torch.randn(1, 8, WIDTH, dtype=torch.float64)
    units, recent = torch.randint(0, 256, (1, 32)), torch.full((1, back), ABSENT)
    before = module(s, units, recent, table).flatten(1, 2)
    for place in (0, 5, 14, 31):
        other = units.clone()
        other[0, place] = (other[0, place] + 1) % 256
        moved = (module(s, other, recent, table).flatten(1, 2) != before).any(-1)[0]
        assert moved.nonzero().flatten().tolist() == list(range(place + 1, min(32, place + 1 + back)))


def test_a_decoder_that_looks_too_far_back_is_refused():
    with pytest.raises(UserError, match="look_back 9 is more than 8"):
        LocalByteDecoder(look_back=9).build(WIDTH, 257, 4)


def test_relu2():
    recipe = ladder.recipe("03", "demo").replace(width=WIDTH, ffn=ReLU2(multiple=8))
    module = double(recipe.ffn.build(recipe))
    hidden = module.hidden
    assert hidden == SwiGLU(multiple=8).hidden(WIDTH) == 88

    def slow(x: Tensor) -> Tensor:
        rows = []
        for row in x[0]:
            gate, up = module.input.weight[:hidden] @ norm(row), module.input.weight[hidden:] @ norm(row)
            rows.append(module.output.weight @ (gate.clamp(min=0) ** 2 * up))
        return torch.stack(rows)[None]

    compare(module, module, slow, torch.randn(1, STEPS, WIDTH, dtype=torch.float64))


def test_without_sub_norms_only_the_gains_are_gone():
    with_gains, without = (
        build(ladder.recipe("04", "demo").replace(linear=Ternary(gains)), 1) for gains in (True, False)
    )
    weights = dict(without.named_parameters())
    gains = {name for name, _ in with_gains.named_parameters()} - set(weights)
    assert gains == {f"blocks.{i}.{part}.output.gain" for i in range(3) for part in ("mixer", "ffn")}
    units = torch.randint(1, 256, (1, 32))
    torch.testing.assert_close(without(units).logits, with_gains(units).logits)  # gains begin as ones


@torch.no_grad()
def test_a_projection_is_in_full_precision_until_it_is_ternary():
    module = TernaryProjection(WIDTH, (8, 16), norm=True, gain=True)
    for tensor in (module.weight, module.gain):
        tensor.normal_()
    x = torch.randn(2, STEPS, WIDTH)
    ternary = module(x)
    torch.testing.assert_close(ternary, ops.bit_linear(x, module.weight, (8, 16), module.gain))
    module.ternary = False
    rows = [module.weight @ (norm(row) * module.gain) for row in x.flatten(0, 1)]
    torch.testing.assert_close(module(x).flatten(0, 1), torch.stack(rows))
    assert (module(x) - ternary).abs().max() > 0.1


def test_delete_gate_soft_and_hard():
    module = double(DeleteGate(hidden=6).build(WIDTH)).eval()
    x = torch.randn(1, STEPS, WIDTH, dtype=torch.float64)

    def slow(x: Tensor) -> Tensor:
        rows = []
        for row in x[0]:
            inner = module.up @ norm(row) + module.up_bias
            rows.append((module.down[0] @ (inner * inner.sigmoid()) + module.down_bias[0]).sigmoid())
        return torch.stack(rows)[None]

    compare(module, lambda x: module(x, hard=False), slow, x)
    assert torch.equal(module(x, hard=True), (slow(x) >= 0.5).double())


def test_hard_training_learns_from_probes_alone():
    """Of 40 patches those that are probes in this turn count half and carry the gradient of k; no other does."""
    module = double(DeleteGate(hidden=6).build(WIDTH)).train()
    x = torch.randn(2, 40, WIDTH, dtype=torch.float64)
    soft = module(x, hard=False)
    module.progress, module.step = 0.9, 5
    k = module(x, hard=False)
    probes = [t for t in range(40) if (t + 5) % PROBES == 0]
    decided = [t for t in range(40) if t not in probes]
    assert len(probes) == 2
    assert (k[:, probes] == 0.5).all()
    assert torch.equal(k[:, decided], (soft[:, decided] >= 0.5).double())
    assert k.requires_grad
    found, expected = (torch.autograd.grad(each.sum(), module.up) for each in (k, soft[:, probes]))
    torch.testing.assert_close(found, expected)
    taken, deleted = module.shares(k.detach())
    torch.testing.assert_close(taken, (soft[:, decided] < 0.5).double().mean())
    torch.testing.assert_close(deleted, taken)
    assert [float(share) for share in module.shares(torch.full((1, 1), 0.5))] == [0, 0]


def test_every_patch_is_a_probe_in_its_turn():
    module = DeleteGate().build(WIDTH).train()
    module.progress = 1.0
    with torch.no_grad():
        for tensor in module.parameters():
            tensor.normal_()
        seen = []
        for module.step in range(PROBES):
            seen += (module(torch.randn(1, 40, WIDTH), hard=False)[0] == 0.5).nonzero().flatten().tolist()
    assert sorted(seen) == list(range(40))


def test_decisions_grow_apart_where_patches_differ():
    """Patches that gain by keeping are kept, and with confidence: their scores do not gather at the threshold."""
    torch.manual_seed(2)
    module = DeleteGate(target=0.3, harden=0.0).build(WIDTH)
    for name, tensor in module.named_parameters():
        torch.nn.init.normal_(tensor, std=0.1) if "bias" not in name else torch.nn.init.zeros_(tensor)
    optimizer = torch.optim.AdamW(module.parameters(), lr=3e-3)
    for module.step in range(1500):
        module.progress = module.step / 1500
        x = torch.randn(8, 64, WIDTH)
        k = module(x, hard=False)
        worth = x[..., 0] + 1  # of a branch; the loss is concave in k: the second half of it is worth less
        loss = -(worth * (k - 0.4 * k.square())).mean() + module.penalty(k, module.shares(k.detach())[0])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    module.eval()
    x = torch.randn(8, 64, WIDTH)
    k = module(x, hard=False)
    assert ((k - 0.5).abs() > 0.2).float().mean() > 0.7
    low, high = (k[chosen] for chosen in (x[..., 0] < -1, x[..., 0] > 0.5))
    assert (low < 0.5).float().mean() > 0.9
    assert (high >= 0.5).float().mean() > 0.9


def test_the_controller_reaches_its_target():
    """A gate trained by the regulariser alone settles at the asked rate of deletion."""
    torch.manual_seed(1)
    module = DeleteGate(target=0.3).build(WIDTH)
    for name, tensor in module.named_parameters():
        torch.nn.init.normal_(tensor, std=0.1) if "bias" not in name else torch.nn.init.zeros_(tensor)
    optimizer = torch.optim.AdamW(module.parameters(), lr=6e-3)
    rates = []
    for module.step in range(1400):
        module.progress = module.step / 1400
        x = torch.randn(4, 64, WIDTH)
        k = module(x, hard=False)
        # a task that rewards keeping, more for some patches than for others
        loss = (x[..., 0].sigmoid() * (1 - k)).mean() + module.penalty(k, module.shares(k.detach())[0])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        rates.append(float(module.shares(k.detach())[1]))
    assert sum(rates[-100:]) / 100 == pytest.approx(0.3, abs=0.05)


@pytest.mark.parametrize("gated", [False, True])
def test_memory(gated):
    module = PFNet(width=6, learned_decay=True).build(WIDTH)
    double(module)
    x = torch.randn(1, STEPS, WIDTH, dtype=torch.float64)
    keep = torch.rand(1, STEPS, dtype=torch.float64) if gated else None

    def slow(x: Tensor, *rest: Tensor) -> Tensor:
        memory, rows = torch.zeros(6, dtype=torch.float64), []
        decay = module.theta.sigmoid()
        for t in range(STEPS):
            moved = decay * memory + (1 - decay) * (module.input @ (norm(x[0, t]) * module.gain))
            memory = rest[0][0, t] * moved + (1 - rest[0][0, t]) * memory if rest else moved
            rows.append(module.output @ memory)
        return torch.stack(rows)[None]

    inputs = (x, keep) if gated else (x,)
    compare(module, lambda x, k=None: module(x, None, k)[0], slow, *inputs)


def test_starting_decay_needs_no_module():
    assert starting_theta(4).shape == (4,)


def test_patch_mix_is_causal_inside_the_patch():
    module = double(BolmoPatchEmbedding().build(WIDTH))
    units = torch.randint(0, 256, (1, 12))
    quarter = WIDTH // 4

    def slow() -> Tensor:
        patches = []
        for t in range(3):
            vectors = [module.bytes[units[0, 4 * t + j]] for j in range(4)]
            mixed = [
                vectors[j] + module.bias + sum(module.taps[k] * vectors[j - k] for k in range(j + 1)) for j in range(4)
            ]
            patches.append(torch.cat(mixed))
        return torch.stack(patches)[None]

    assert slow().shape[-1] == 4 * quarter
    compare(module, lambda: module(units), slow)


def test_init_weights_fills_a_fresh_model_without_touching_the_global_generator():
    from cpu1.model.network import Model

    state = torch.get_rng_state()
    model = Model(ladder.recipe("07", "demo"))
    before = torch.get_rng_state()
    init_weights(model, 3)
    assert torch.equal(torch.get_rng_state(), before)
    assert torch.equal(state, before)
