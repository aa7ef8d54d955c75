"""Typed fields out of parsed JSON; what is missing or of a wrong kind is named with its file and key."""

import math
from pathlib import Path
from typing import Any

from cpu1.errors import UserError

REMEDY = "the file is damaged or from another version; delete the run folder and run it again"


class Fields:
    """One JSON object of `path`; a method raises UserError when its key does not hold what it should."""

    def __init__(self, path: Path, value: Any, prefix: str = ""):
        self.path, self.prefix = path, prefix
        if not isinstance(value, dict):
            raise UserError(f"{path}: {prefix.rstrip('.') or 'the file'} should be a JSON object; {REMEDY}")
        self.values: dict[str, Any] = value

    def fault(self, key: str, wanted: str) -> UserError:
        state = f"is {self.values[key]!r:.60}" if key in self.values else "is missing"
        return UserError(f'{self.path}: "{self.prefix}{key}" {state}, should be {wanted}; {REMEDY}')

    def text(self, key: str) -> str:
        value = self.values.get(key)
        if not isinstance(value, str):
            raise self.fault(key, "text")
        return value.encode("utf-8", "replace").decode()  # half a surrogate pair could not be written again

    def one_of(self, key: str, *choices: str) -> str:
        value = self.text(key)
        if value not in choices:
            raise self.fault(key, " or ".join(choices))
        return value

    def flag(self, key: str) -> bool:
        value = self.values.get(key)
        if not isinstance(value, bool):
            raise self.fault(key, "true or false")
        return value

    def number(self, key: str, least: float = -math.inf) -> float:
        """A finite number, at least `least`."""
        value = self.values.get(key)
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise self.fault(key, "a number")
        if not math.isfinite(value) or value < least:
            raise self.fault(key, "a finite number" + (f" of at least {least:g}" if least > -math.inf else ""))
        return float(value)

    def count(self, key: str) -> int:
        """An integer, at least 0."""
        value = self.values.get(key)
        if isinstance(value, bool) or not isinstance(value, int) or value < 0:
            raise self.fault(key, "a count (an integer of at least 0)")
        return value

    def items(self, key: str) -> list[Any]:
        value = self.values.get(key)
        if not isinstance(value, list):
            raise self.fault(key, "a list")
        return value

    def inside(self, key: str) -> "Fields":
        """The object under `key`."""
        if not isinstance(self.values.get(key), dict):
            raise self.fault(key, "an object")
        return Fields(self.path, self.values[key], f"{self.prefix}{key}.")

    def absent(self, key: str) -> bool:
        """Whether the key holds null or is not there: for parts that only some runs have."""
        return self.values.get(key) is None
