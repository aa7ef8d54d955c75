"""What callers pass: strings and bytes, numpy's numbers, names with a tilde; and what is refused in words."""

from pathlib import Path

import numpy as np
import pytest
from helpers.pages import ROOT

import cpu1
from cpu1.data.cache import default_cache
from cpu1.errors import UserError
from cpu1.runtime.default import VARIABLE, default_model
from cpu1.runtime.model import Model
from cpu1.runtime.text import as_bytes
from cpu1.training.plan import Job

MODEL = ROOT / "checkpoints/04-nano-r2-s0.cpu1"


@pytest.fixture(scope="module")
def model() -> Model:
    return cpu1.load(MODEL)


@pytest.mark.parametrize("text", ["caf\u00e9", "\ud83d", "a\ude00b", "\ud83d\ude00", ""])
def test_any_string_and_its_bytes_are_one_text(model: Model, text: str) -> None:
    data = as_bytes(text)
    assert model.generate(text, 12) == model.generate(data, 12) == model.generate(bytearray(data), 12)
    assert model.score(text).tolist() == model.score(data).tolist()
    model.prime(text)


@pytest.mark.parametrize("text", [None, 3, [3], np.zeros(3)])
def test_what_is_no_text_is_refused(model: Model, text: object) -> None:
    for use in (model.generate, model.score, model.prime):
        with pytest.raises(UserError, match="a text is a string or bytes, not"):
            use(text)  # type: ignore[operator]


def test_bytes_that_came_as_surrogates_are_bytes_again() -> None:
    assert as_bytes(b"\xff\x80a".decode(errors="surrogateescape")) == b"\xff\x80a"


@pytest.mark.parametrize("stop", ["x", b"x", [3]])
def test_stop_strings_are_a_list_of_strings(model: Model, stop: object) -> None:
    with pytest.raises(UserError, match="give a list of strings"):
        model.generate("a", 4, stop)  # type: ignore[arg-type]
    assert model.generate("a", 4, None) == model.generate("a", 4)
    assert model.generate("a", 99, [b" "]) == model.generate("a", 99, [" "])


@pytest.mark.parametrize("kind", [np.int64, np.int32, np.uint8])
def test_numbers_of_numpy(model: Model, kind: type) -> None:
    assert model.generate("a", 9, seed=kind(3), top_k=kind(5)) == model.generate("a", 9, seed=3, top_k=5)
    assert cpu1.load(MODEL, threads=kind(1)).threads == 1


@pytest.mark.parametrize("threads", [0, -1, 257, 99999999999, 1.5, "2", True])
def test_threads_out_of_range(threads: object) -> None:
    with pytest.raises(UserError, match="give a whole number from 1 to 256"):
        cpu1.load(MODEL, threads=threads)  # type: ignore[arg-type]


@pytest.mark.parametrize("seed", [-1, 2**63, 2**200, 1.5, "1"])
def test_seeds_out_of_range(seed: object, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"give a whole number from 0 to 2\^63 - 1"):
        Job(run="04", folder=tmp_path, data="x", seed=seed)  # type: ignore[arg-type]


def test_names_with_a_tilde(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "m.cpu1").symlink_to(MODEL)
    monkeypatch.setenv(VARIABLE, "~/m.cpu1")
    monkeypatch.setenv("CPU1_CACHE", "~/cc")
    assert default_model() == tmp_path / "m.cpu1"
    assert default_cache() == tmp_path / "cc"


def test_a_long_text_is_scored_as_in_one_piece(model: Model) -> None:
    text = b"A few words, and a few more of them. " * 1200  # more than is read at a time
    whole = model.units().score(model.encode(text)) / np.log(2)
    assert model.score(text).tolist() == whole.tolist()
    assert model.score(b"").tolist() == []
