"""Programs: JSON both ways, and a refusal that says what is wrong for each thing that can be wrong."""

import copy
import re
from pathlib import Path

import pytest
from helpers.packing import packed_run

from cpu1.format.operations import OPERATIONS, Choice, Flag, Number, Numbers, Parts, Read, State, Tensor, Write
from cpu1.format.program import Program, Slice, Stored
from cpu1.model import ladder
from cpu1.model.lower import lower


def example() -> dict:
    """A small program with every kind of field."""
    return {
        "level": "byte",
        "patch": 4,
        "vocabulary": 256,
        "width": 8,
        "registers": {"x": 8, "s": 8, "y": 8, "z": 8, "wide": 24},
        "states": {"cache": 16, "h": 8},
        "embed": [{"op": "embed_bytes", "out": ["x", 0, 8], "table": "bytes", "start": "first"}],
        "trunk": [
            {"op": "rms_norm", "in": ["x", 0, 8], "out": ["y", 0, 8]},
            {"op": "delete_gate", "in": ["x", 0, 8], "up": "up", "up_bias": "b", "down": "down", "down_bias": "c",
             "skip_to": 7},
            {"op": "ternary_linear", "in": ["y", 0, 8], "out": ["wide", 0, 24], "parts": [8, 16], "weight": "qkv"},
            {"op": "attend", "in": ["wide", 0, 24], "out": ["z", 0, 8], "heads": 2, "head_size": 4, "segment": 0,
             "state": "cache"},
            {"op": "gate_scan", "in": ["wide", 0, 16], "out": ["y", 0, 8], "state": "h"},
            {"op": "dense_linear", "in": ["z", 0, 8], "out": ["y", 0, 8], "weight": "w", "activation": "none",
             "accumulate": True},
            {"op": "add", "in": ["y", 0, 8], "out": ["x", 0, 8]},
            {"op": "rms_norm", "in": ["x", 0, 8], "out": ["s", 0, 8]},
        ],
        "head": [{"op": "patch_heads", "in": ["s", 0, 8], "output": "head"}],
    }  # fmt: skip


SHAPES = {
    "bytes": Stored((256, 2)),
    "first": Stored((8,)),
    "up": Stored((3, 8)),
    "b": Stored((3,)),
    "down": Stored((1, 3)),
    "c": Stored((1,)),
    "qkv": Stored((24, 8), (8, 16)),
    "w": Stored((8, 8)),
    "head": Stored((1024, 8)),
}


def change(*path_and_value):
    """The example with one value replaced, or taken away where the new value is `...`."""
    *path, last, value = path_and_value
    program = copy.deepcopy(example())
    place = program
    for key in path:
        place = place[key]
    if value is ...:
        del place[last]
    else:
        place[last] = value
    return program


def test_the_example_is_valid():
    program = Program.from_json(example())
    assert program.to_json() == example()
    program.check_tensors(SHAPES)
    assert program.tensor_names() == set(SHAPES)
    assert program.trunk[2]["parts"] == (8, 16)
    assert program.trunk[2]["out"] == Slice("wide", 0, 24)


@pytest.mark.parametrize("run", ladder.LADDER)
def test_every_run_goes_through_json(run, tmp_path):
    program = packed_run(run, tmp_path).packed.program
    assert Program.from_json(program.to_json()) == program


REFUSED = [
    ([], "not an object"),
    (change("colour", 1), 'unknown field "colour"'),
    (change("width", ...), "field width is missing"),
    (change("trunk", {}), "trunk is not a list"),
    (change("level", "word"), "neither byte nor token"),
    (change("patch", 17), "patch is 17; it must be a whole number from 1 to 16"),
    (change("patch", True), "patch is true"),
    (change("width", 8.0), "width is 8.0"),
    (change("vocabulary", 255), "255 symbols of bytes"),
    (change("level", "token"), "a patch of 4 tokens"),
    ({**change("level", "token"), "patch": 1}, "embed[0] embed_bytes is not for a token model"),
    (change("registers", []), "registers is not an object"),
    (change("registers", "x", 9), "register x must have the width"),
    (change("registers", "s", ...), "register s must have the width"),
    (change("registers", "y", 0), 'size of "y" is 0'),
    (change("registers", "y", 1 << 21), "whole number from 1 to 1048576"),
    (change("registers", {f"r{i}": 1 for i in range(257)}), "257 registers; at most 256"),
    (change("registers", {f"r{i}": 1 << 20 for i in range(2)}), "values together"),
    (change("registers", "", 8), "is not a name"),
    (change("registers", "spare", 8), 'register "spare" is not written whole'),
    (change("registers", "wide", 25), 'register "wide" is not written whole'),
    (change("states", "spare", 8), 'no operation has the state "spare"'),
    (change("embed", []), "embed has 0 operations"),
    (change("head", example()["head"] * 9), "head has 9 operations"),
    (
        change("head", example()["head"] * 2),
        "head[0] patch_heads: the last operation of the head, and it alone, reads s",
    ),
    (change("trunk", []), "trunk has 0 operations"),
    (change("trunk", example()["trunk"] * 600), "trunk has 4800 operations"),
    (change("trunk", 0, "rms_norm"), "trunk[0] names no operation"),
    (change("trunk", 0, "op", "exec"), 'trunk[0]: unknown operation "exec"'),
    (change("trunk", 0, "op", ["rms_norm"]), "trunk[0] names no operation"),
    (change("trunk", 0, example()["head"][0]), "is in trunk; it belongs in head"),
    (change("trunk", 0, "gian", "w"), 'trunk[0] rms_norm: unknown field "gian"'),
    (change("trunk", 0, "out", ...), "trunk[0] rms_norm: field out is missing"),
    (change("trunk", 0, "out", ["y", 0]), "out is not [register, first, size]"),
    (change("trunk", 0, "out", ["q", 0, 8]), 'no register "q"'),
    (change("trunk", 0, "out", [[], 0, 8]), "no register []"),
    (change("trunk", 0, "out", ["y", 8, 8]), "out: first value is 8"),
    (change("trunk", 0, "out", ["y", -1, 8]), "out: first value is -1"),
    (change("trunk", 0, "out", ["y", 1, 8]), "out: size is 8; it must be a whole number from 1 to 7"),
    (change("trunk", 0, "out", ["y", 0, 2**80]), "out: size is 1208925819614629174706176"),
    (change("trunk", 0, "out", ["y", 0, 7]), "out has size 7; it must be n with n = 8"),
    (change("trunk", 0, "gain", 3), "gain: 3 is not a name"),
    (change("trunk", 0, "gain", "x" * 257), "is not a name"),
    (change("trunk", 1, "skip_to", 1), "skip_to is 1; it must be a whole number from 2 to 7"),
    (change("trunk", 1, "skip_to", 8), "skip_to is 8"),
    (change("trunk", 1, "skip_to", "7"), 'skip_to is "7"'),
    (change("trunk", 2, "parts", 24), "parts is not a list"),
    (change("trunk", 2, "parts", []), "parts is not a list of 1 to 256"),
    (change("trunk", 2, "parts", [24, 0]), "parts is 0"),
    (change("trunk", 2, "parts", [8, 8]), "parts has size 16; it must be n with n = 24"),
    (change("trunk", 3, "heads", 0), "heads is 0"),
    (change("trunk", 3, "heads", 4), "in has size 24; it must be 3*heads*head_size with heads = 4, head_size = 4"),
    (change("trunk", 3, "head_size", 3), "head_size is 3; it must be a multiple of 2"),
    (change("trunk", 3, "segment", -1), "segment is -1"),
    (change("trunk", 3, "state", "nothing"), 'no state "nothing"'),
    (change("states", "cache", 8), "state has size 8; it must be 2*heads*head_size"),
    (change("trunk", 4, "in", ["wide", 0, 15]), "in has size 15; it must be 2*d"),
    (change("trunk", 4, "state", "cache"), "state has size 16; it must be d with d = 8"),
    (change("trunk", 5, "activation", "gelu"), "must be one of none, silu, relu2"),
    (change("trunk", 5, "activation", []), "must be one of none, silu, relu2"),
    (change("trunk", 5, "accumulate", 1), "must be true or false"),
    (change("trunk", 5, "in", ["y", 0, 8]), "trunk[5] dense_linear overwrites what it reads"),
    (change("trunk", 6, "in", ["x", 0, 8]), "overwrites what it reads"),
    (change("trunk", 7, "in", ["z", 0, 8]), 'reads what no operation has written of register "z"'),  # skipped
    (change("trunk", 0, "in", ["wide", 0, 8]), "reads what no operation has written"),
    (change("embed", 0, "out", ["y", 0, 8]), "out is not the whole of register x"),
    (change("head", 0, "in", ["x", 0, 8]), "in is not the whole of register s"),
]


@pytest.mark.parametrize(("program", "message"), REFUSED, ids=[message[:40] for _, message in REFUSED])
def test_refused(program, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        Program.from_json(program)


def test_a_state_has_one_owner():
    program = change("trunk", 5, {**example()["trunk"][4], "in": ["wide", 8, 16]})
    with pytest.raises(ValueError, match=re.escape('state "h" belongs to program: trunk[4] gate_scan already')):
        Program.from_json(program)


def test_too_many_inputs():
    size = 65_537
    program = change("trunk", 0, {"op": "dense_linear", "in": ["big", 0, size], "out": ["y", 0, 8], "weight": "w",
                                  "activation": "none", "accumulate": False})  # fmt: skip
    program["registers"]["big"] = size
    with pytest.raises(ValueError, match="65537 inputs; at most 65536"):
        Program.from_json(program)


@pytest.mark.parametrize(
    ("name", "stored", "message"),
    [
        ("w", None, 'trunk[5] dense_linear: weight: tensor "w" is not in the file'),
        ("w", Stored((8, 8), (8,)), "is ternary"),
        ("qkv", Stored((24, 8)), "is not ternary"),
        ("qkv", Stored((24, 8), (16, 8)), "has other parts"),
        ("w", Stored((8, 9)), "dimension 1 of (n, k) has size 9; it must be k with k = 8"),
        ("w", Stored((8,)), "has shape [8]; it must be (n, k)"),
        ("bytes", Stored((255, 2)), "dimension 0 of (V, q) has size 255"),
        ("bytes", Stored((256, 3)), "dimension 1 of (V, q) has size 3"),
        ("b", Stored((4,)), "dimension 0 of (h) has size 4; it must be h with h = 3"),
        ("down", Stored((2, 3)), "dimension 0 of (1, h) has size 2"),
        ("head", Stored((1020, 8)), "it must be P*V with P = 4, V = 256"),
    ],
)
def test_tensors_must_fit(name, stored, message):
    stored_all = {**SHAPES, name: stored}
    if stored is None:
        del stored_all[name]
    with pytest.raises(ValueError, match=re.escape(message)):
        Program.from_json(example()).check_tensors(stored_all)


def test_one_ternary_tensor_has_one_shape():
    program = example()
    program["registers"]["other"] = 16
    program["trunk"].insert(3, {"op": "ternary_linear", "in": ["y", 0, 8], "out": ["other", 0, 16], "parts": [16],
                                "weight": "qkv"})  # fmt: skip
    program["trunk"][1]["skip_to"] = 8
    with pytest.raises(ValueError, match="another shape elsewhere"):
        Program.from_json(program).ternary_tensors()


def test_a_gate_between_two_gates_may_skip_less():
    """What may be read behind a skip is what was written before the gate."""
    program = change("trunk", 1, "skip_to", 6)  # lands on the add of y, which stands since the first operation
    Program.from_json(program)
    program["trunk"][0]["out"] = ["z", 0, 8]
    program["trunk"][2]["in"] = ["z", 0, 8]
    with pytest.raises(ValueError, match=re.escape("trunk[6] add reads what no operation has written")):
        Program.from_json(program)


def test_a_field_at_its_default_is_left_out():
    """Files from before the field existed load, and files that do not need it stay as they were."""
    decoder = {"op": "local_decode", "in": ["s", 0, 8]}
    names = ("slots", "back", "up", "up_bias", "down", "down_bias", "output", "output_bias")
    program = {**example(), "head": [{**decoder, **{name: name for name in names}}]}
    old = Program.from_json(program)
    assert old.look_back == old.head[0]["look_back"] == 3
    assert old.to_json() == program
    shown = copy.deepcopy(program)
    shown["head"][0]["look_back"] = 3
    assert Program.from_json(shown) == old
    shown["head"][0]["look_back"] = 5
    assert Program.from_json(shown).to_json() == shown
    assert Program.from_json(example()).look_back == 0


def test_every_operation_is_documented():
    """docs/operations.md has a row for each, with all its fields."""
    text = (Path(__file__).parents[2] / "docs" / "operations.md").read_text(encoding="utf-8")
    rows = {line.split("`")[1]: line for line in text.splitlines() if line.startswith("| `")}
    for name, operation in OPERATIONS.items():
        for field in operation.fields:
            assert f"`{field}`" in rows[name], f"{name}: {field}"


def test_every_kind_of_field_is_used():
    kinds = {type(kind) for operation in OPERATIONS.values() for kind in operation.fields.values()}
    assert {Choice, Flag, Number, Numbers, Parts, Read, State, Tensor, Write} <= kinds


def test_lowering_reaches_every_operation():
    """The runs need the whole set: nothing is in it that no ingredient lowers to."""
    from helpers.packing import randomised

    used = {
        op.name for run in ladder.LADDER for *_, op in lower(randomised(ladder.recipe(run, "demo")))[0].operations()
    }
    assert used == set(OPERATIONS)


def test_a_tensor_that_no_module_lowers_is_noticed():
    import torch
    from helpers.packing import randomised

    model = randomised(ladder.recipe("04", "demo"))
    model.blocks[0].register_parameter("forgotten", torch.nn.Parameter(torch.ones(1)))
    with pytest.raises(ValueError, match=re.escape("blocks.0.forgotten was not lowered")):
        lower(model)
