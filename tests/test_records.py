"""Dataclasses as JSON: strict, named where they do not fit, and the same again when written."""

import json
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Annotated, Any, Literal

import pytest

from cpu1.errors import UserError
from cpu1.records import Amount, Count, OneOf, Range, later, parse, read, read_all, to_json


@dataclass(frozen=True)
class Inner:
    share: Annotated[float, Range(0, 1)]
    names: tuple[str, ...] = ()


@dataclass(frozen=True)
class Outer:
    format: Literal[1]
    size: Count
    unit: Annotated[str, OneOf(("byte", "token"))]
    flag: bool
    inner: Inner | None
    bounds: tuple[float | None, int]
    by_name: dict[str, tuple[Amount, ...]] = field(default_factory=dict)
    free: Any = None
    joined: str = later(default="before")

    def __post_init__(self) -> None:
        if self.size == 13:
            raise UserError("size is 13")


GOOD = {
    "format": 1,
    "size": 3,
    "unit": "byte",
    "flag": True,
    "inner": {"share": 0.5, "names": ["a"]},
    "bounds": [None, 4],
    "by_name": {"x": [1.0, 2.5]},
    "free": [{"any": None}],
}


def test_a_record_is_read_and_written_the_same() -> None:
    record = parse(Outer, GOOD, "here")
    assert record == Outer(1, 3, "byte", True, Inner(0.5, ("a",)), (None, 4), {"x": (1.0, 2.5)}, [{"any": None}])
    assert json.dumps(to_json(record)) == json.dumps(GOOD)


def test_a_field_that_joined_later_is_written_where_it_differs() -> None:
    record = parse(Outer, GOOD, "here")
    assert to_json(replace(record, joined="after")) == GOOD | {"joined": "after"}
    assert parse(Outer, GOOD | {"joined": "after"}, "here").joined == "after"


def test_a_whole_number_will_do_for_a_number_and_not_the_other_way_round() -> None:
    found = parse(Inner, {"share": 1}, "here").share
    assert (found, type(found)) == (1.0, float)
    with pytest.raises(UserError, match=r'"size" is 3\.0, should be a whole number'):
        parse(Outer, GOOD | {"size": 3.0}, "here")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"format": 2}, '"format" is 2, should be 1'),
        ({"format": True}, '"format" is True, should be 1'),
        ({"size": -1}, '"size" is -1, should be a whole number of at least 0'),
        ({"size": True}, '"size" is True, should be a whole number'),
        ({"size": 13}, "size is 13"),
        ({"unit": "word"}, "\"unit\" is 'word', should be byte or token"),
        ({"flag": 1}, '"flag" is 1, should be true or false'),
        ({"inner": []}, '"inner" is [], should be an object'),
        ({"inner": {}}, '"inner.share" is missing, should be a number from 0 to 1'),
        ({"inner": {"share": 1.5}}, '"inner.share" is 1.5, should be a number from 0 to 1'),
        ({"inner": {"share": float("nan")}}, '"inner.share" is nan'),
        ({"inner": {"share": 1, "names": ["a", 2]}}, '"inner.names[1]" is 2, should be text'),
        ({"inner": {"share": 1, "colour": 3}}, '"inner.colour" is unknown; Inner has share, names'),
        ({"bounds": [1.0]}, '"bounds" is [1.0], should be a list of 2'),
        ({"bounds": [10**400, 1]}, '"bounds[0]" is inf'),
        ({"by_name": {"x": [1.0, float("inf")]}}, '"by_name.x[1]" is inf'),
        ({"by_name": {"x": [1.0, -2.0]}}, '"by_name.x[1]" is -2.0, should be a number of at least 0'),
        ({"by_name": {"x": 1.0}}, '"by_name.x" is 1.0, should be a list'),
    ],
)
def test_what_does_not_fit_is_named(change: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError) as caught:
        parse(Outer, GOOD | change, "here", "mend it")
    assert str(caught.value).startswith("here: ")
    assert message in str(caught.value)


def test_a_file_is_named_with_the_remedy(tmp_path: Path) -> None:
    path = tmp_path / "record.json"
    path.write_text(json.dumps({"a": GOOD, "b": {}}))
    with pytest.raises(UserError, match=r'record\.json: "b\.format" is missing, should be 1; mend it'):
        read_all(Outer, path, "mend it")
    path.write_text("[]")
    with pytest.raises(UserError, match=r"record\.json: the whole is \[\], should be an object"):
        read(Outer, path)
    path.write_text(json.dumps({"a": GOOD}))
    assert read_all(Outer, path)["a"].size == 3
