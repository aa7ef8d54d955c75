"""What training refuses: odd values, and folders at which another process works. Nothing is written then."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from helpers.jobs import SHORT, stop_at
from helpers.text import write_text

import cpu1
from cpu1.errors import UserError
from cpu1.files import locked
from cpu1.runs.folders import LOCK
from cpu1.training.job import Job, train
from cpu1.training.loop import Interrupted


@pytest.fixture(scope="module")
def job(tmp_path_factory: pytest.TempPathFactory) -> Job:
    shared = tmp_path_factory.mktemp("text")
    return Job(run="04", folder=shared / "unset", scale="demo", data=str(write_text(shared)), cache=shared / "cache",
               threads=1, overrides=SHORT, eval_bytes=2000)  # fmt: skip


def content(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file() and path.name != LOCK}


ODD: list[tuple[dict[str, Any], str]] = [
    ({"round": "r9", "bytes": 1000}, "round 'r9' is not known"),
    ({"round": "custom"}, "needs a budget"),
    ({"seed": 1.5}, "seed is 1.5"),
    ({"seed": True}, "seed is True"),
    ({"threads": 0}, "threads is 0"),
    ({"bytes": "5k"}, "budget is '5k'"),
    ({"minutes": float("nan")}, "budget is nan"),
    ({"minutes": float("inf")}, "budget is inf"),
    ({"bytes": True}, "budget is True"),
    ({"batch": 2.5}, "batch=2.5: must be a whole number"),
    ({"window": True}, "window=True: must be a whole number"),
    ({"rate": False}, "rate=False: must be a number"),
    ({"rate": "fast"}, "rate=fast: not a setting, or not of its type"),
    ({"rate": float("inf")}, "rate is inf"),
    ({"changes": {"layers": 4.5}}, "layers=4.5"),
    ({"changes": {"layers": True}}, "layers=True"),
    ({"changes": {"ffn": object()}}, "ffn="),
    ({"changes": {"head.hidden": [1]}}, "head.hidden="),
]


@pytest.mark.parametrize(("options", "words"), ODD, ids=[str(options)[:30] for options, _ in ODD])
def test_odd_values_are_refused_before_anything_is_written(
    job: Job, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, options: dict[str, Any], words: str
) -> None:
    monkeypatch.setenv("CPU1_CACHE", str(job.cache))
    with pytest.raises(UserError, match=words):
        cpu1.train("04", tmp_path / "run", scale="demo", data=job.data, **options)
    assert not (tmp_path / "run").exists()


def test_numbers_in_changes_are_taken(job: Job, tmp_path: Path) -> None:
    train(replace(job, folder=tmp_path, changes=(("layers", 2), ("memory", None))))
    assert json.loads((tmp_path / "recipe.json").read_text())["layers"] == 2


def test_one_process_trains_in_a_folder(job: Job, tmp_path: Path) -> None:
    job = replace(job, folder=tmp_path / "run")
    with pytest.raises(Interrupted):
        train(job, stop_at(3))
    before = content(job.folder)
    with locked(job.folder / LOCK), pytest.raises(UserError, match="another process is training here"):
        train(job)
    assert content(job.folder) == before
    assert train(job)["step"] == 12


@pytest.mark.parametrize(
    "change", [{"data": "nowhere.txt"}, {"round": "r1", "start": Path("nowhere.cpu1")}, {"teacher": Path("nowhere")}]
)
def test_a_refused_job_writes_nothing_into_an_unfinished_run(job: Job, tmp_path: Path, change: dict[str, Any]) -> None:
    job = replace(job, folder=tmp_path / "run")
    with pytest.raises(Interrupted):
        train(job, stop_at(3))
    before = content(job.folder)
    with pytest.raises(UserError):
        train(replace(job, **change))
    assert content(job.folder) == before
