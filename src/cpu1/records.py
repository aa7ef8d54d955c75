"""Frozen dataclasses that are written as JSON and identify a run, and how they grow.

What was written before a field joined must go on meaning, hashing and resuming the same. So a field that joins
later has a default that is what was done before it, and is left out of JSON where it holds that default.
"""

import dataclasses
from typing import Any

_LATER = "joined later"


def later(*, default: Any) -> Any:
    """A dataclass field that joined after records had been written."""
    return dataclasses.field(default=default, metadata={_LATER: True})


def written(record: Any) -> dict[str, Any]:
    """The fields of a dataclass that stand in its JSON, by name, as they are."""
    fields = {f.name: (f, getattr(record, f.name)) for f in dataclasses.fields(record)}
    return {name: value for name, (f, value) in fields.items() if not (_LATER in f.metadata and value == f.default)}
