"""Run folders at an address: files appear whole, vanish with their originals, and come back."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from helpers.buckets import bucket

from cpu1.errors import UserError
from cpu1.study.store import Store, stamps

pytest.importorskip("fsspec")
NAME = "runs/contexts=[3,4]/04-demo-r1-s0"


@pytest.fixture(params=["file", "memory", "s3", "gs"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Store]:
    if request.param in ("s3", "gs"):
        with bucket(request.param) as address:
            yield Store(f"{address}/some/studies")
    else:
        yield Store(f"{request.param}://{tmp_path}/store")


def write(folder: Path, **files: str) -> None:
    for name, text in files.items():
        path = folder / name.replace("__", "/").replace("_", ".")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)


def test_a_folder_goes_and_comes(store: Store, tmp_path: Path) -> None:
    run = tmp_path / "run"
    write(run, metrics_jsonl="1", checkpoints__1_safetensors="one", _lock="")
    before = store.push(run, NAME, {})
    (run / "checkpoints" / "1.safetensors").unlink()
    write(run, metrics_jsonl="1 2", checkpoints__2_safetensors="two")
    store.push(run, NAME, before)
    there = tmp_path / "there"
    store.pull(NAME, there)
    assert {path.name: path.read_text() for path in there.rglob("*") if path.is_file()} == {
        "metrics.jsonl": "1 2",
        "2.safetensors": "two",
    }
    assert set(store.held(NAME)) == set(stamps(there)) == {"metrics.jsonl", "checkpoints/2.safetensors"}
    without = tmp_path / "without"
    assert set(store.pull(NAME, without, checkpoints=False)) == {"metrics.jsonl"}


def test_a_run_that_is_not_there_is_empty(store: Store, tmp_path: Path) -> None:
    assert store.held("nothing") == store.pull("nothing", tmp_path / "run") == {}


@pytest.mark.parametrize("address", ["nonsense://bucket/study", "abfs-not://x"])
def test_other_addresses_are_refused(address: str) -> None:
    with pytest.raises(UserError, match="cannot be opened"):
        Store(address)


def test_what_cannot_be_written_to_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="cannot be opened"):
        Store(f"file://{tmp_path}/file/study")


@pytest.mark.parametrize("kind", ["s3", "gs"])
def test_a_bucket_that_is_not_there_is_refused_and_not_made(kind: str) -> None:
    with bucket(kind):
        for _ in range(2):
            with pytest.raises(UserError, match="cannot be opened"):
                Store(f"{kind}://mistyped/study")
