"""Fuzzers of what Python reads: archive, adapter, packed file, tokenizer, recipe, settings. See docs/fuzzing.md.

    python fuzz/readers.py TARGET CORPUS... [OPTIONS OF LIBFUZZER]        needs atheris

A reader accepts its input, or refuses it with words (`UserError`, or `ValueError` where its docstring says so). What it
accepts must come out again as it went in.
"""

import random
import re
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import counted

CORPUS = Path(__file__).parent / "corpus"
MODEL = CORPUS / "packed" / "18.cpu1"
ODD = ["0", "-1", "1", "17", "65536", "4294967296", "1e300", "1e999", "NaN", "0.5", "null", "true", "[]", "{}", '"x"']

if __name__ == "__main__":
    counted.count()

from cpu1 import files, records  # noqa: E402
from cpu1.errors import UserError  # noqa: E402
from cpu1.format.packed import read_packed  # noqa: E402
from cpu1.format.program import Program  # noqa: E402
from cpu1.format.tokens import Tokens  # noqa: E402
from cpu1.model import ladder  # noqa: E402
from cpu1.model.recipe import Recipe  # noqa: E402
from cpu1.runs.settings import Settings  # noqa: E402
from cpu1.runtime import adapter, archive  # noqa: E402
from cpu1.runtime.archive import Archive  # noqa: E402

assert ladder.LADDER  # the ingredients are known
_scratch = Path(tempfile.mkdtemp(prefix="cpu1-fuzz-", dir="/dev/shm" if Path("/dev/shm").is_dir() else None))


def read_archive(data: bytes) -> None:
    """Also with a true check at its end, so that its blocks are reached."""
    for whole in (data, data + archive.check(data)):
        try:
            read = Archive.read(whole)
        except UserError:
            continue
        assert read.write() == whole
        assert sum(read.sizes()) == read.size


def read_adapter(data: bytes) -> None:
    """An adapter of a model that keeps whatever state it is given, with a true check and fingerprint at its place."""
    model: Any = SimpleNamespace(path=MODEL, arithmetic="plain", state=b"")
    path = _scratch / "adapter.cpa"
    body = data[:7] + archive.fingerprint_of(MODEL) + data[15:]
    for whole in (data, body + archive.check(body)):
        path.write_bytes(whole)
        try:
            adapter.read(model, path)
        except UserError:
            continue
        assert len(model.state) <= adapter.MOST_BYTES


def read_model(data: bytes) -> None:
    """The packed file, by the reader in Python."""
    try:
        packed = read_packed(data)
    except ValueError:
        return
    assert Program.from_json(packed.program.to_json()) == packed.program


def read_tokenizer(data: bytes) -> None:
    """A tokenizer gives back every text that it encodes."""
    try:
        tokens = Tokens.parse(data)
    except ValueError:
        return
    assert tokens.decode(tokens.encode(data[:64])) == data[:64]


def read_recipe(data: bytes) -> None:
    """A recipe says in JSON what it was read from, or less where a field has its default."""
    value = _json(data)
    if value is None:
        return
    try:
        recipe = Recipe.from_json(value)
    except UserError:
        return
    again = Recipe.from_json(recipe.to_json())
    assert again == recipe
    assert again.hash() == recipe.hash()


def read_settings(data: bytes) -> None:
    """Settings are read from a file, and are the same when written and read again."""
    path = _scratch / "settings.json"
    path.write_bytes(data)
    try:
        settings = Settings.read(path)
    except UserError:
        return
    assert records.parse(Settings, settings.to_json(), "again") == settings


def _json(data: bytes) -> Any:
    path = _scratch / "value.json"
    path.write_bytes(data)
    try:
        return files.read_json(path)
    except UserError:
        return None


TARGETS: dict[str, Callable[[bytes], None]] = {
    "archive": read_archive,
    "adapter": read_adapter,
    "packed": read_model,
    "tokenizer": read_tokenizer,
    "recipe": read_recipe,
    "settings": read_settings,
}


# ---- changes that keep an input readable for longer ----------------------------------------------------------------


def changed(data: bytes, rng: random.Random) -> bytes:
    """A number, a word or a stretch of the JSON in an input is another one; the length before a header goes along."""
    head, text, rest = _parts(data)
    for _ in range(rng.randint(1, 3)):
        text = rng.choice((_number, _word, _stretch))(text, rng)
    return (len(text).to_bytes(8, "little") if head else b"") + text + rest


def _parts(data: bytes) -> tuple[bytes, bytes, bytes]:
    """The length of a header, the header, and what follows; or nothing, all of it, and nothing."""
    size = int.from_bytes(data[:8], "little")
    return (data[:8], data[8 : 8 + size], data[8 + size :]) if 2 <= size <= len(data) - 8 else (b"", data, b"")


def _number(text: bytes, rng: random.Random) -> bytes:
    found = list(re.finditer(rb"-?\d+(\.\d+)?", text))
    if not found:
        return text
    where = rng.choice(found)
    value = rng.choice(ODD) if rng.random() < 0.4 else str(rng.randrange(2000))
    return text[: where.start()] + value.encode() + text[where.end() :]


def _word(text: bytes, rng: random.Random) -> bytes:
    found = list(re.finditer(rb'"[^"]*"', text))
    if not found:
        return text
    where, other = rng.choice(found), rng.choice(found)
    return text[: where.start()] + other.group() + text[where.end() :]


def _stretch(text: bytes, rng: random.Random) -> bytes:
    if len(text) < 2:
        return text
    first = rng.randrange(len(text))
    last = min(len(text), first + rng.randrange(1, 64))
    return text[:first] + text[first:last] * rng.choice((0, 2, 2, 200)) + text[last:]


if __name__ == "__main__":
    counted.fuzz(TARGETS[sys.argv.pop(1)], changed)
