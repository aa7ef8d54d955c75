"""The packed file: exact both ways, atomic, and refused with a reason where it is damaged."""

import json
import re
import subprocess
import sys
from contextlib import suppress

import numpy as np
import pytest
import torch
from helpers.packing import Pair, pack_model, packed_run, randomised, some_units, tokenizer
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from safetensors import safe_open

from cpu1 import cli, ops
from cpu1.errors import UserError
from cpu1.format import container
from cpu1.format.container import Raw
from cpu1.format.packed import WIDTHS, open_packed, pack, read_packed, unpack
from cpu1.format.tensors import SILENT, Ternary, from_bf16, from_trits, to_bf16, to_int8, to_trits
from cpu1.model import ladder
from cpu1.model.lower import lower
from cpu1.runs.pack import pack_run
from cpu1.runs.trained import load

# ------------------------------------------------------------------------------------------ both ways


@pytest.mark.parametrize("dense", WIDTHS)
@pytest.mark.parametrize("run", ladder.LADDER)
def test_pack_of_unpack_is_the_same_file(run, dense, tmp_path):
    pair = packed_run(run, tmp_path, dense)
    unpack(pair.packed, tmp_path / "run")
    pack_run(tmp_path / "run", tmp_path / "again.cpu1", dense)
    first, again = pair.path.read_bytes(), (tmp_path / "again.cpu1").read_bytes()
    assert first == again


@pytest.mark.parametrize("run", ["05", "07", "09", "10", "13"])
def test_what_is_unpacked_computes_the_same_in_torch(run, tmp_path):
    """Exactly: the same ternary weights, the same scales, the same full-precision values."""
    pair = packed_run(run, tmp_path)
    unpack(pair.packed, tmp_path / "run")
    trained = load(tmp_path / "run")
    units = torch.from_numpy(some_units(pair, 64))[None]
    with torch.no_grad():
        found, expected = trained.model(units, hard=True).logits, pair.model(units, hard=True).logits
    # a is folded into U, which rounds once
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-5 if pair.model.recipe.residual else 0)
    assert (trained.tokenizer is None) == (pair.model.recipe.level == "byte")


def test_teachers_leave_no_trace(tmp_path):
    pair = packed_run("15", tmp_path)
    assert pair.packed.recipe["distill"] is None
    assert not [name for name in pair.packed.tensors if name.startswith("distill")]


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 40), st.integers(1, 40), st.integers(0, 2**32 - 1))
def test_trits_both_ways(rows, columns, seed):
    w = np.random.default_rng(seed).integers(-1, 2, (rows, columns)).astype(np.int8)
    trits = to_trits(w)
    assert trits.shape == (-(-rows // 16), -(-columns // 16), 64)
    assert np.array_equal(from_trits(trits, w.shape), w)


def test_trits_stand_where_the_format_says():
    w = np.random.default_rng(0).integers(-1, 2, (37, 50)).astype(np.int8)
    trits = to_trits(w)
    for row, k in ((0, 0), (1, 0), (15, 15), (16, 3), (36, 49), (20, 22)):
        lane, inner = row % 16, k % 16
        byte = trits[row // 16, k // 16, 4 * lane + inner % 4]
        assert (byte >> 2 * (inner // 4)) & 3 == w[row, k] + 1
    assert (trits[2, 3, 4 * 15 + 3] >> 6) & 3 == 1  # row 47, input 63: padding


@settings(max_examples=200, deadline=None)
@given(st.integers(0, 2**32 - 1), st.integers(1, 60), st.integers(1, 60), st.floats(-30, 30), st.floats(0, 1))
def test_unpacked_weights_ternarise_to_the_same(seed, rows, columns, exponent, zeros):
    """Whatever the weights: the same w, and γ to the last bit."""
    generator = torch.Generator().manual_seed(seed)
    weight = torch.randn(rows + 1, columns + 1, generator=generator) * 10**exponent
    weight[torch.rand(weight.shape, generator=generator) < zeros * 0.9] *= 0.3
    parts = (rows, 1)
    w, gamma = ops.ternarise(weight, parts)
    assume(all(piece.count_nonzero() > 1 for piece in w.split(parts)))  # a single one may miss γ by a rounding
    unpacked = Ternary(w.numpy(), gamma.numpy(), parts).unpacked()
    again, scale = ops.ternarise(torch.from_numpy(unpacked), parts)
    assert torch.equal(again, w)
    assert torch.equal(scale, gamma)


@settings(max_examples=200, deadline=None)
@given(st.integers(0, 2**32 - 1), st.integers(1, 40), st.floats(-32, 37))
def test_int8_of_int8_is_the_same(seed, columns, exponent):
    value = (np.random.default_rng(seed).standard_normal((6, columns)) * 10**exponent).astype(np.float32)
    value[3] = 0
    q, scale = to_int8(value)
    dequantised = q * scale[:, None]
    again, scale_again = to_int8(dequantised)
    assert np.array_equal(again, q)
    assert np.array_equal(scale_again, scale)
    assert q.min() >= -127
    assert np.all(np.abs(dequantised - value) <= np.maximum(0.5001 * scale[:, None], SILENT))


def test_bf16_rounds_as_torch_does():
    bits = np.random.default_rng(0).integers(0, 2**32, 100_000, np.uint64).astype(np.uint32)
    ties = (np.arange(0, 2**16, 7, dtype=np.uint32) << 16) | 0x8000
    value = np.concatenate((bits, ties)).view(np.float32)
    value = value[np.isfinite(value)]
    expected = torch.from_numpy(value.copy()).bfloat16().float().numpy()
    assert np.array_equal(from_bf16(to_bf16(value)), expected)


# ------------------------------------------------------------------------------------------- the file


@pytest.fixture(scope="module")
def pair(tmp_path_factory) -> Pair:
    return pack_model(
        randomised(ladder.recipe("07", "demo").replace(layers=2)),
        tmp_path_factory.mktemp("pack") / "model.cpu1",
        "int8",
    )


def test_any_safetensors_reader_can_list_it(pair):
    with safe_open(pair.path, "pt") as file:
        names = set(file.keys())
        about = json.loads(file.metadata()["cpu1"])
        shapes = {name: file.get_slice(name).get_shape() for name in names}
    assert (about["format"], about["kind"], about["dense"]) == (1, "packed", "int8")
    assert about["recipe"]["layers"] == 2
    assert shapes["blocks.0.mixer.input.weight.trits"] == [24, 8, 64]
    assert shapes["blocks.0.mixer.input.weight.scale"] == [3]
    assert shapes["head.slots"] == [256, 128]
    assert shapes["head.slots.scale"] == [256]


def test_ternary_weights_take_a_sixteenth_of_fp32(pair):
    tensors, _ = container.read(pair.path.read_bytes())
    trits = sum(len(t.data) for name, t in tensors.items() if name.endswith(".trits"))
    weights = sum(p.numel() for n, p in pair.model.named_parameters() if n.endswith(("input.weight", "output.weight")))
    assert trits * 4 == weights


def test_a_decision_is_kept_in_fp32(pair):
    tensors, _ = container.read(pair.path.read_bytes())
    assert tensors["gate.down"].dtype == "F32"
    assert tensors["gate.up"].dtype == "I8"


def changed(pair: Pair, about=None, tensors=None, metadata=None) -> bytes:
    """The file with its header's entry or its tensors put through a function."""
    stored, header = container.read(pair.path.read_bytes())
    if about:
        words = json.loads(header["cpu1"])
        about(words)
        header = {"cpu1": json.dumps(words)}
    if tensors:
        tensors(stored)
    return container.write(stored, header if metadata is None else metadata)


def put(name: str, **fields):
    """Replaces parts of one tensor."""

    def change(stored):
        old = stored[name]
        stored[name] = Raw(**{"dtype": old.dtype, "shape": old.shape, "data": old.data, **fields})

    return change


WEIGHT = "blocks.0.mixer.input.weight"
HEADERS = [
    ({}, "no entry cpu1"),
    ({"cpu1": "[]"}, "not a packed model"),
    ({"cpu1": "{"}, "not JSON"),
    ({"cpu1": '{"kind": "packed", "format": 2}'}, "format 2 is not 1"),
    ({"cpu1": '{"kind": "packed", "format": true}'}, "format True is not 1"),
    ({"cpu1": '{"kind": "packed", "kind": "packed"}'}, "is twice"),
    ({"cpu1": '{"kind": NaN}'}, "NaN is not JSON"),
    ({"cpu1": "[" * 100_000}, "nested too deeply"),
]


@pytest.mark.parametrize(("metadata", "message"), HEADERS)
def test_headers_are_checked(pair, metadata, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        read_packed(changed(pair, metadata=metadata))


ABOUT = [
    (lambda a: a.update(colour=1), "'colour' is unknown"),
    (lambda a: a.pop("run"), "'run' is missing"),
    (lambda a: a.update(program=[]), "program is list, not dict"),
    (lambda a: a.update(dense="int4"), "dense or derived is not valid"),
    (lambda a: a.update(derived=[1]), "dense or derived is not valid"),
    (lambda a: a.update(derived=["nothing"]), "derived tensor 'nothing' is not in the file"),
    (lambda a: a["program"].update(width=64), "register x must have the width"),
]
TENSORS = [
    (lambda s: s.pop("embedding.bytes"), 'tensor "embedding.bytes" is not in the file'),
    (lambda s: s.pop("head.slots.scale"), "no head.slots.scale of type F32 and shape [256]"),
    (lambda s: s.pop(f"{WEIGHT}.trits"), f"no {WEIGHT}.trits of type U8"),
    (put(f"{WEIGHT}.trits", dtype="I8"), "of type U8"),
    (put(f"{WEIGHT}.trits", shape=(8, 24, 64)), "shape [8, 24, 64] does not hold 384 x 128"),
    (put(f"{WEIGHT}.trits", data=b"\xff" * (24 * 8 * 64)), "a value of 3"),
    (put(f"{WEIGHT}.scale", shape=(4,), data=bytes(16)), "shape [3]"),
    (put(f"{WEIGHT}.scale", data=np.float32([1, np.inf, 1]).tobytes()), "not finite and above 0"),
    (put(f"{WEIGHT}.scale", data=np.float32([1, 0, 1]).tobytes()), "not finite and above 0"),
    (put("head.slots.scale", data=np.full(256, np.nan, np.float32).tobytes()), "not finite and above 0"),
    (put("head.slots", data=b"\x80" * (256 * 128)), "a value of -128"),
    (put("head.slots", shape=(256 * 128,)), "has no rows"),
    (put("head.slots", shape=(128, 256)), "shape [128]"),
    (put("embedding.start", data=np.full(128, np.nan, np.float32).tobytes()), "not finite"),
    (put("embedding.start", shape=(64, 2)), "has shape [64, 2]; it must be (P*q)"),
    (lambda s: s.update(other=Raw("U8", (1,), b"x")), "unexpected type U8"),
    (lambda s: s.update({WEIGHT: Raw("F32", (1,), bytes(4))}), "is there twice"),
    (lambda s: s.update(tokenizer=Raw("U8", (2,), b"{}")), "a byte model with tokenizer"),
]


@pytest.mark.parametrize(("about", "message"), ABOUT, ids=[m[:30] for _, m in ABOUT])
def test_the_header_must_fit(pair, about, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        read_packed(changed(pair, about=about))


@pytest.mark.parametrize(("tensors", "message"), TENSORS, ids=[str(i) for i in range(len(TENSORS))])
def test_tensors_must_fit(pair, tensors, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        read_packed(changed(pair, tensors=tensors))


def test_weights_in_the_padding_are_refused():
    w = np.ones((17, 20), np.int8)
    trits = to_trits(w)
    trits[1, 0, 4] = 0xAA  # row 17
    with pytest.raises(ValueError, match="padding"):
        from_trits(trits, w.shape)
    trits = to_trits(w)
    trits[0, 1, 3] ^= 0xC0  # input 31
    with pytest.raises(ValueError, match="padding"):
        from_trits(trits, w.shape)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (None, "a token model without tokenizer"),
        (b"", "the tokenizer is damaged"),
        (b"\xff", "the tokenizer is damaged"),
        (b"[]", "the tokenizer is damaged"),
        (b"{}", "the tokenizer is damaged"),
        (tokenizer(300), "a tokenizer of 300 tokens; the program has 512"),
    ],
)
def test_tokenizers_are_checked(words, message, tmp_path):
    program, tensors = lower(randomised(ladder.recipe("13", "demo").replace(layers=1)))
    with pytest.raises(ValueError, match=re.escape(message)):
        pack(program, tensors, tmp_path / "x.cpu1", recipe={}, tokenizer=words)
    assert list(tmp_path.iterdir()) == []


def test_damaged_files_are_refused(pair):
    data = pair.path.read_bytes()
    size = int.from_bytes(data[:8], "little")
    for end in (0, 4, 8, 100, size, size + 8, len(data) // 2, len(data) - 1):
        with pytest.raises(ValueError, match=r"safetensors|header"):
            read_packed(data[:end])
    with pytest.raises(ValueError, match="safetensors"):
        read_packed(data + b"x")
    with pytest.raises(ValueError, match="header of"):
        read_packed((2**60).to_bytes(8, "little") + data[8:])


@settings(max_examples=150, deadline=None)
@given(st.integers(0, 2**32 - 1))
def test_a_flipped_bit_is_refused_or_harmless(pair, seed):
    """Nothing but ValueError, wherever in the header it is."""
    data = bytearray(pair.path.read_bytes())
    place = int(np.random.default_rng(seed).integers(0, 8 * (8 + int.from_bytes(data[:8], "little"))))
    data[place // 8] ^= 1 << place % 8
    with suppress(ValueError):
        read_packed(bytes(data))


def test_a_model_that_is_not_finite_is_not_packed(tmp_path):
    model = randomised(ladder.recipe("04", "demo").replace(layers=1))
    with torch.no_grad():
        model.head.slots[3, 3] = float("nan")
    program, tensors = lower(model)
    with pytest.raises(ValueError, match=r"head\.slots.*not finite"):
        pack(program, tensors, tmp_path / "x.cpu1", "bf16", recipe={})
    assert list(tmp_path.iterdir()) == []


def test_a_scale_that_no_weights_have():
    zeros = np.zeros((4, 4), np.int8)
    with pytest.raises(ValueError, match="part 0: all weights are zero, but the scale is 2"):
        Ternary(zeros, np.float32([2]), (4,)).unpacked()
    assert not Ternary(zeros, np.float32([1]), (4,)).unpacked().any()
    zeros[0, 0] = 1
    with pytest.raises(ValueError, match="part 0: no fp32 weights"), np.errstate(over="ignore"):
        Ternary(zeros, np.float32([3e38]), (4,)).unpacked()


# ------------------------------------------------------------------------------------ command line


def run_folder(pair: Pair, folder) -> None:
    unpack(pair.packed, folder)


def test_pack_and_unpack_by_command(pair, tmp_path, capsys):
    run_folder(pair, tmp_path / "run")
    packed, again = tmp_path / "model.cpu1", tmp_path / "again.cpu1"
    assert cli.main(["pack", str(tmp_path / "run"), "-o", str(packed)]) == 0
    assert f"{packed.stat().st_size:,} bytes" in capsys.readouterr().out
    assert cli.main(["unpack", str(packed), "-o", str(tmp_path / "back")]) == 0
    assert cli.main(["pack", str(tmp_path / "back"), "-o", str(again)]) == 0
    assert packed.read_bytes() == again.read_bytes()
    assert open_packed(packed).run == {"run": "test"}


def test_commands_name_what_is_wrong(pair, tmp_path, capsys):
    run_folder(pair, tmp_path / "run")
    for words, message in (
        (["pack", str(tmp_path / "nothing"), "-o", "x"], "no such run folder"),
        (["unpack", str(tmp_path / "nothing"), "-o", str(tmp_path / "new")], "not readable"),
        (["unpack", str(tmp_path / "run" / "model.safetensors"), "-o", str(tmp_path / "new")], "not a packed model"),
        (["unpack", str(pair.path), "-o", str(tmp_path / "run")], "name a new folder"),
    ):
        assert cli.main(words) == 2
        assert message in capsys.readouterr().err
    with pytest.raises(UserError, match="no width 'int4'"):
        pack_run(tmp_path / "run", tmp_path / "x", "int4")


WITHOUT_TORCH = """
import sys
for name in ("torch", "tokenizers", "rich", "zstandard", "filelock", "matplotlib"):
    sys.modules[name] = None
import cpu1, cpu1.format.program, cpu1.format.packed, cpu1.runtime
from cpu1.runtime.reference import Reference
bits = Reference(cpu1.format.packed.open_packed(sys.argv[1])).score(list(b"plain words"))
assert bits.shape == (11,) and (bits > 0).all()
"""


def test_packed_models_run_without_torch(pair):
    subprocess.run([sys.executable, "-c", WITHOUT_TORCH, str(pair.path)], check=True)
