"""Models of any bytes: NUL is a byte like others, and no byte ends a document."""

import struct
from pathlib import Path

import numpy as np
import pytest

import cpu1
from cpu1.cli import main
from cpu1.data.corpus import Corpus, prepare
from cpu1.data.order import Windows
from cpu1.model import ladder
from cpu1.runs.generate import generate
from cpu1.runs.trained import load
from cpu1.runtime.archive import compress, decompress
from cpu1.runtime.sampling import Sampling
from cpu1.training.plan import read_text


def utf16(count: int) -> bytes:
    return "".join(f"line {i % 50} of a text\n" for i in range(count)).encode("utf-16-le")


def records(count: int) -> bytes:
    return b"".join(struct.pack("<IHHf", i % 999, i % 7, 0, (i % 30) / 8) for i in range(count))


def alternating(count: int) -> bytes:
    return bytes(2 * count)[::2].join([b"\1"] * count)


TEXTS = {"utf16": utf16(700), "records": records(2000), "alternating": alternating(9000)}


@pytest.fixture(scope="module", params=TEXTS)
def trained(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp(request.param)
    (folder / "text").write_bytes(TEXTS[request.param])
    settings = {"data": str(folder / "text"), "threads": 1, "steps": 40, "batch": 2, "window": 256}
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("CPU1_CACHE", str(folder / "cache"))
        with pytest.warns(UserWarning, match="looks binary"):
            cpu1.train("18", folder / "run", scale="demo", **settings)
    return folder


def test_it_generates_nul_and_does_not_end_there(trained: Path) -> None:
    text = (trained / "text").read_bytes()
    model = cpu1.load(trained / "run" / "model.cpu1")
    drawn = b"".join(model.chunks(text[:256], 200, Sampling(temperature=1, seed=1), may_end=False))
    assert len(drawn) == 200
    assert drawn.count(0) > 20
    through_torch = generate(load(trained / "run"), text[:256], 40, Sampling(temperature=0), may_end=False)
    greedy = b"".join(model.chunks(text[:256], 40, Sampling(temperature=0), may_end=False))
    assert b"".join(through_torch) == greedy


def test_it_scores_and_compresses(trained: Path) -> None:
    text = (trained / "text").read_bytes()[:3001]
    model = cpu1.load(trained / "run" / "model.cpu1")
    assert model.score(text).mean() < 6
    packed = compress(text, model)
    assert len(packed) < len(text) * 0.8
    assert decompress(packed, trained / "run" / "model.cpu1") == text


@pytest.fixture
def corpus(tmp_path: Path) -> Corpus:
    """Documents that begin and end with NUL, and hold more of them."""
    documents = [b"\0" + struct.pack("<II", i, 7) * 40 + b"\0" for i in range(200)]
    (tmp_path / "text.txt").write_bytes(b"\f\n".join(documents))
    with pytest.warns(UserWarning, match="looks binary"):
        return prepare(str(tmp_path / "text.txt"), cache=tmp_path / "cache")


def test_windows_hold_separators_where_documents_end_and_nowhere_else(corpus: Corpus) -> None:
    split, separator = corpus.splits["train"], ladder.recipe("04", "demo").separator
    text = read_text(corpus, None, separator)
    windows = text.windows(100, seed=1)
    places = windows.starts(0, 8)
    for start, row in zip(places.tolist(), windows.read(places), strict=True):
        expected = split.stream[start : start + 100].astype(np.int64)
        expected[[end - start for end in split.ends.tolist() if start <= end < start + 100]] = separator
        assert row.tolist() == expected.tolist()
    assert int((text.units() == separator).sum()) == len(split)
    assert text.unit_bytes[[0, 255, separator]].tolist() == [1, 1, 0]
    assert len(text.unit_bytes) == separator + 1


def test_older_models_end_documents_with_nul(corpus: Corpus) -> None:
    recipe = ladder.recipe("04", "demo")
    old = recipe.replace(embedding=type(recipe.embedding)(symbols=256))
    assert "symbols" not in old.to_json()["embedding"]
    assert type(old).from_json(old.to_json()) == old
    assert (old.separator, recipe.separator) == (0, 256)
    text = read_text(corpus, None, old.separator)
    assert (
        text.windows(100, 1).batch(0, 4).tolist() == Windows(corpus.splits["train"].stream, 100, 1).batch(0, 4).tolist()
    )
    assert len(text.unit_bytes) == 256


def test_raw_bytes_on_the_command_line(trained: Path, capfdbinary: pytest.CaptureFixture[bytes]) -> None:
    model = trained / "run" / "model.cpu1"
    assert main(["generate", "line", "-m", str(model), "--raw", "--max-bytes", "64", "--seed", "3", "--echo"]) == 0
    written = capfdbinary.readouterr().out
    expected = b"".join(cpu1.load(model).chunks(b"line", 64, Sampling(temperature=0.8, seed=3)))
    assert written == b"line" + expected
