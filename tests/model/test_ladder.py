"""The ladder: sizes as the card printed them, each rung its parent plus what the card says."""

import json
from pathlib import Path

import pytest

from cpu1.cli import main
from cpu1.errors import UserError
from cpu1.model import ladder
from cpu1.model.ingredients import MLGRU, LocalByteDecoder, ReLU2, Ternary
from cpu1.model.network import computing_count
from cpu1.model.recipe import Recipe, changed, differences
from cpu1.records import parse, to_json
from cpu1.report import original
from cpu1.report.ladder_table import sizes
from cpu1.runs.folders import RunRecord
from cpu1.runs.settings import Settings

RESULTS = Path(__file__).parents[2] / "results"


def test_all_sixteen_rows_match_both_size_columns_of_the_card():
    rows = sizes()
    assert [row["run"] for row in rows] == list(ladder.LADDER)
    of_card = [row for row in rows if original.find(row["run"], "r1")]
    assert len(of_card) == 16
    for row in of_card:
        card = original.find(row["run"], "r1")
        assert (f"{row['params'] / 1e6:.1f}", f"{row['ram_fp32_mb']:.1f}") == (
            f"{card.params_m:.1f}",
            f"{card.ram_fp32_mb:.1f}",
        ), row["run"]
        assert row["same"]


def test_a_run_of_ones_own_has_no_figures_of_the_card(monkeypatch, capsys):
    chain = ladder.Ladder(dict(ladder.LADDER))
    chain.rung("99", "07", "+ ReLU2", ffn=ReLU2())
    monkeypatch.setitem(ladder.LADDER, "99", chain.rungs["99"])
    row = sizes()[-1]
    assert (row["run"], row["original_params_m"], row["original_ram_mb"], row["same"]) == ("99", None, None, None)
    assert main(["ladder", "--params"]) == 0
    printed = capsys.readouterr().out
    assert "not in the original" in printed
    assert "16 of 16 rows match" in printed


def test_the_size_check_can_fail():
    assert not any(row["same"] for row in sizes("nano"))


def test_params_as_json(capsys):
    assert main(["ladder", "--params", "--json"]) == 0
    rows = json.loads(capsys.readouterr().out)
    assert {"run", "params", "ram_fp32_mb", "original_params_m", "original_ram_mb", "same"} <= set(rows[0])
    assert all(row["same"] is not False for row in rows)


@pytest.mark.parametrize("scale", ["original", "card", *ladder.SCALES])
@pytest.mark.parametrize("run", ladder.LADDER)
def test_recipes_survive_json(run, scale):
    recipe = ladder.recipe(run, scale)
    again = Recipe.from_json(json.loads(json.dumps(recipe.to_json())))
    assert again == recipe
    assert again.hash() == recipe.hash()


def test_each_rung_differs_from_its_parent_as_the_card_says():
    for run, rung in ladder.LADDER.items():
        if rung.parent:
            changed = differences(ladder.recipe(run, "base"), ladder.recipe(rung.parent, "base"))
            said = set().union(*(ladder.SAYS[word] for word in rung.says))
            assert set(changed) == said if rung.says else len(changed) == 1, run


def test_a_rung_that_changes_something_else_than_it_says_is_refused():
    chain = ladder.Ladder()
    chain.root("a", "", ladder.recipe("02"))
    with pytest.raises(ValueError, match=r"run b: .* is a change of \['mixer'\], not of \['linear', 'mixer'\]"):
        chain.rung("b", "a", "", ["MLGRU"], mixer=MLGRU(), linear=Ternary())
    with pytest.raises(ValueError, match=r"run b: \['head'\] is as in run a"):
        chain.rung("b", "a", "", ["LocalByteDecoder"], head=LocalByteDecoder())
    with pytest.raises(ValueError, match="run b: nothing differs from run a"):
        chain.rung("b", "a", "")
    with pytest.raises(ValueError, match="run b: there is no run z above it; the ladder has a"):
        chain.rung("b", "z", "", mixer=MLGRU())
    chain.rung("b", "a", "", ["MLGRU"], mixer=MLGRU())
    with pytest.raises(ValueError, match="run b: the ladder has one of this name"):
        chain.rung("b", "a", "", linear=Ternary())
    chain.rung("c", "b", "", linear=Ternary())  # a run of one's own: its change is what is given
    assert [rung.parent for rung in chain.rungs.values()] == [None, "a", "b"]


def test_nano_has_one_to_two_million_parameters():
    for run in ladder.LADDER:
        assert 1e6 <= computing_count(ladder.recipe(run, "nano")) <= 2e6, run


def test_unknown_names_are_refused():
    with pytest.raises(UserError, match="no run '99' on the ladder; it has 01"):
        ladder.recipe("99")
    with pytest.raises(UserError, match="no scale 'huge'"):
        ladder.recipe("07", "huge")
    assert ladder.recipe("run_07") == ladder.recipe("07")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"format": 9}, "format 9"),
        ({"mixer": {"kind": "Eval"}}, "\"mixer\" is 'Eval', should be one of Attention, FoldedAttention, MLGRU"),
        ({"mixer": {"kind": "SwiGLU"}}, "\"mixer\" is 'SwiGLU'"),
        ({"mixer": None}, '"mixer" is None'),
        ({"ffn": {"kind": "SwiGLU", "multiple": 0}}, '"ffn.multiple" is 0, should be a whole number from 1 to 65536'),
        (
            {"gate": {"kind": "DeleteGate", "target": float("nan")}},
            '"gate.target" is nan, should be a number that is finite',
        ),
        ({"mixer": {"kind": "MLGRU", "output": 3}}, '"mixer.output" is 3, should be true or false'),
        ({"mixer": {"kind": "MLGRU", "depth": 3}}, '"mixer.depth" is unknown; MLGRU has output'),
        ({"mixer": "MLGRU"}, "\"mixer\" is 'MLGRU', should be one of"),
        ({"width": "wide"}, "\"width\" is 'wide', should be a whole number"),
        ({"width": -4}, '"width" is -4, should be a whole number from 1'),
        ({"surprise": 1}, '"surprise" is unknown; Recipe has width'),
    ],
)
def test_damaged_recipes_are_refused_with_a_reason(change, message):
    with pytest.raises(UserError, match=message):
        Recipe.from_json({**ladder.recipe("07").to_json(), **change}, "recipe.json")


def test_a_recipe_without_a_field_is_refused():
    value = ladder.recipe("07").to_json()
    del value["ffn"]
    with pytest.raises(UserError, match='"ffn" is missing'):
        Recipe.from_json(value)


def test_run_folders_written_before_a_field_joined_read_and_write_the_same():
    """Their JSON is what a folder is compared with when it is resumed, and names its checkpoints."""
    lines = [line for path in sorted(RESULTS.glob("*.jsonl")) for line in path.read_text().splitlines()[1:]]
    assert len(lines) >= 100
    for held in map(json.loads, lines):
        assert Recipe.from_json(held["recipe"]).to_json() == held["recipe"]
        assert str(parse(Settings, held["settings"], "").to_json()) == str(held["settings"])
        assert str(to_json(parse(RunRecord, held, ""))) == str(held)


def test_a_field_that_joined_later_is_written_where_it_differs():
    assert Ternary().sub_norm
    plain, bare = (ladder.recipe("04", "nano").replace(linear=Ternary(gains)) for gains in (True, False))
    assert plain.to_json()["linear"] == {"kind": "Ternary"}
    assert bare.to_json()["linear"] == {"kind": "Ternary", "sub_norm": False}
    assert plain.hash() == ladder.recipe("04", "nano").hash() != bare.hash()
    assert Recipe.from_json(bare.to_json()) == bare


def test_a_recipe_is_changed_by_name():
    base = ladder.recipe("07", "nano")
    changes = [("ffn", "ReLU2"), ("ffn.multiple", "16"), ("layers", "4"), ("gate", "none"), ("head.hidden", "512")]
    wanted = base.replace(ffn=ReLU2(16), layers=4, gate=None, head=LocalByteDecoder(96, 512))
    assert changed(base, changes) == wanted
    assert changed(base, [("mixer.output", "false")]) == base.replace(mixer=MLGRU(output=False))
    assert changed(base, [("gate", "none"), ("gate", "DeleteGate")]) == base
    assert changed(base, []) == base


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (("colour", "3"), "no 'colour'; it has width, layers, embedding, mixer"),
        (("ffn", "MLGRU"), "\"ffn\" is 'MLGRU', should be one of .*ReLU2, .*SwiGLU"),
        (("ffn", "none"), '"ffn" is None, should be one of .*ReLU2, .*SwiGLU'),
        (("head.depth", "3"), '"head.depth" is unknown; LocalByteDecoder has width, hidden, look_back'),
        (("head.hidden", "many"), "\"head.hidden\" is 'many', should be a whole number"),
        (("head.hidden", "0"), '"head.hidden" is 0, should be a whole number from 1'),
        (("memory.width", "8"), "memory is no ingredient of this recipe; it has embedding, mixer"),
        (("layers", "four"), "\"layers\" is 'four', should be a whole number"),
        (("layers.x", "1"), "layers is no ingredient"),
        (("embedding", "TokenEmbedding"), '"embedding.vocabulary" is missing'),
    ],
)
def test_changes_that_do_not_fit_are_refused_with_what_is_known(change, message):
    with pytest.raises(UserError, match=message):
        changed(ladder.recipe("07", "nano"), [change])
