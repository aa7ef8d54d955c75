"""The ladder: sizes as the card printed them, each rung its parent plus what the card says."""

import json

import pytest

from cpu1 import ladder
from cpu1.cli import main
from cpu1.errors import UserError
from cpu1.ingredients import MLGRU, LocalByteDecoder, Ternary
from cpu1.model import parameter_count
from cpu1.recipes import Recipe, differences
from cpu1.study import original
from cpu1.study.ladder_table import sizes


def test_all_sixteen_rows_match_both_size_columns_of_the_card():
    rows = sizes()
    assert [row["run"] for row in rows] == list(ladder.ORDER)
    assert len(rows) == 16
    for row in rows:
        card = original.find(row["run"], "r1")
        assert (f"{row['params'] / 1e6:.1f}", f"{row['ram_fp32_mb']:.1f}") == (
            f"{card.params_m:.1f}",
            f"{card.ram_fp32_mb:.1f}",
        ), row["run"]
        assert row["same"]


def test_the_size_check_can_fail():
    assert not any(row["same"] for row in sizes("nano"))


def test_params_as_json(capsys):
    assert main(["ladder", "--params", "--json"]) == 0
    rows = json.loads(capsys.readouterr().out)
    assert {"run", "params", "ram_fp32_mb", "card_params_m", "card_ram_mb", "same"} <= set(rows[0])
    assert all(row["same"] for row in rows)


@pytest.mark.parametrize("scale", ["card", *ladder.SCALES])
@pytest.mark.parametrize("run", ladder.ORDER)
def test_recipes_survive_json(run, scale):
    recipe = ladder.recipe(run, scale)
    again = Recipe.from_json(json.loads(json.dumps(recipe.to_json())))
    assert again == recipe
    assert again.hash() == recipe.hash()


def test_each_rung_differs_from_its_parent_as_the_card_says():
    for run, rung in ladder.LADDER.items():
        if rung.parent:
            changed = differences(ladder.recipe(run, "base"), ladder.recipe(rung.parent, "base"))
            assert set(changed) == set().union(*(ladder.SAYS[word] for word in rung.says)), run


def test_a_rung_that_changes_more_than_it_says_is_refused():
    chain = ladder.Ladder()
    chain.root("a", "", ladder.recipe("02"))
    with pytest.raises(ValueError, match="run b: the card says"):
        chain.rung("b", "a", "", ["MLGRU"], mixer=MLGRU(), linear=Ternary())
    with pytest.raises(ValueError, match="run b"):
        chain.rung("b", "a", "", ["LocalByteDecoder"], head=LocalByteDecoder())  # changes nothing
    chain.rung("b", "a", "", ["MLGRU"], mixer=MLGRU())
    assert chain.rungs["b"].parent == "a"


def test_nano_has_one_to_two_million_parameters():
    for run in ladder.ORDER:
        assert 1e6 <= parameter_count(ladder.recipe(run, "nano")) <= 2e6, run


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
        ({"mixer": {"kind": "Eval"}}, "unknown ingredient 'Eval'"),
        ({"mixer": {"kind": "MLGRU", "output": 3}}, "MLGRU.output is 3"),
        ({"mixer": {"kind": "MLGRU", "depth": 3}}, "no field 'depth'"),
        ({"mixer": "MLGRU"}, "not an ingredient"),
        ({"width": "wide"}, "Recipe.width is 'wide'"),
        ({"width": -4}, "width is -4"),
        ({"surprise": 1}, "no field 'surprise'"),
    ],
)
def test_damaged_recipes_are_refused_with_a_reason(change, message):
    with pytest.raises(UserError, match=message):
        Recipe.from_json({**ladder.recipe("07").to_json(), **change}, "recipe.json")


def test_a_recipe_without_a_field_is_refused():
    value = ladder.recipe("07").to_json()
    del value["ffn"]
    with pytest.raises(UserError, match="lacks the field 'ffn'"):
        Recipe.from_json(value)
