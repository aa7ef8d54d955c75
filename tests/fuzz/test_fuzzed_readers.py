"""The fuzzers' targets on their corpora, and on some damage; docs/fuzzing.md has the long runs."""

import random
from pathlib import Path

import pytest
import readers

FILES = [(target, path) for target in readers.TARGETS for path in sorted((readers.CORPUS / target).iterdir())]


@pytest.mark.parametrize(("target", "path"), FILES, ids=lambda part: getattr(part, "name", part))
def test_damaged_inputs_are_refused_or_read_as_they_are(target: str, path: Path) -> None:
    data, rng = path.read_bytes(), random.Random(path.name)
    readers.TARGETS[target](data)
    for _ in range(40):
        readers.TARGETS[target](readers.changed(data, rng))
        readers.TARGETS[target](data[: rng.randrange(len(data))])


def test_the_corpora_are_small() -> None:
    assert sum(path.stat().st_size for path in readers.CORPUS.rglob("*") if path.is_file()) < 200_000


def test_a_changed_header_keeps_its_length_right() -> None:
    data = (readers.CORPUS / "packed" / "18.cpu1").read_bytes()
    for seed in range(20):
        changed = readers.changed(data, random.Random(seed))
        size = int.from_bytes(changed[:8], "little")
        assert changed[8 + size :] == data[8 + int.from_bytes(data[:8], "little") :]
