"""Trackers have what metrics.jsonl has, each step once, however a run is interrupted; and none ends a training."""

import json
import struct
import sys
from collections.abc import Iterator
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path

import pytest
from helpers.jobs import SHORT, stop_at, train_apart
from helpers.text import write_text

from cpu1.errors import UserError
from cpu1.files import read_json
from cpu1.training.job import Job, train
from cpu1.training.loop import Interrupted
from cpu1.training.tracking.tracker import KINDS

STEPS = list(range(1, 13))
BLOCK = 1 << 15  # bytes of a block of wandb's files
EACH = [
    pytest.param(kind, marks=[] if kind == "tensorboard" else [
        pytest.mark.slow, pytest.mark.skipif(find_spec(kind) is None, reason="not installed")])
    for kind in KINDS
]  # fmt: skip


@pytest.fixture(scope="module")
def shared(tmp_path_factory):
    return tmp_path_factory.mktemp("text")


@pytest.fixture
def job(shared, tmp_path, monkeypatch):
    """A short job at demo scale, where no tracker is told to keep anything elsewhere."""
    for variable in ("WANDB_MODE", "MLFLOW_TRACKING_URI", "TRACKIO_DIR"):
        monkeypatch.delenv(variable, raising=False)
    return Job(run="07", folder=tmp_path / "run", scale="demo", data=str(write_text(shared)), cache=shared / "cache",
               threads=1, overrides=SHORT, eval_bytes=2000)  # fmt: skip


def tensorboard(store: Path) -> list[tuple[int, dict[str, float]]]:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator(str(store / "tensorboard")).Reload()
    return [(event.step, {name: event.value}) for name in events.Tags()["scalars"] for event in events.Scalars(name)]


def mlflow(store: Path) -> list[tuple[int, dict[str, float]]]:
    from mlflow.tracking import MlflowClient

    client = MlflowClient(f"sqlite:///{store / 'mlflow.db'}")
    (experiment,) = (each for each in client.search_experiments() if each.name != "Default")
    (run,) = client.search_runs([experiment.experiment_id])
    assert run.info.status == "FINISHED"
    assert run.info.run_name == "run"
    assert run.data.params["steps"] == "12"
    return [
        (each.step, {each.key: each.value})
        for name in run.data.metrics
        for each in client.get_metric_history(run.info.run_id, name)
    ]


def trackio(store: Path) -> list[tuple[int, dict[str, float]]]:
    import sqlite3

    (database,) = (store / "trackio").glob("*.db")
    rows = sqlite3.connect(database).execute("SELECT run_name, step, metrics FROM metrics").fetchall()
    assert len({name for name, _, _ in rows}) == 1
    return [(step, json.loads(metrics)) for _, step, metrics in rows]


def records(data: bytes) -> Iterator[bytes]:
    """The records of one of wandb's files, which are in the form of LevelDB's log."""
    at, record = 7, b""
    while at + 7 <= len(data):
        if (left := BLOCK - at % BLOCK) < 7:
            at += left
            continue
        size, kind = struct.unpack("<4xHB", data[at : at + 7])
        record += data[at + 7 : at + 7 + size]
        at += 7 + size
        if kind in (1, 4):  # whole, or the last part
            yield record
            record = b""


def wandb(store: Path) -> list[tuple[int, dict[str, float]]]:
    from wandb.proto.wandb_internal_pb2 import Record

    found, ids = [], set()
    for path in sorted((store / "wandb").glob("offline-run-*/*.wandb")):
        for data in records(path.read_bytes()):
            record = Record()
            record.ParseFromString(data)
            ids |= {record.run.run_id} - {""}
            if record.WhichOneof("record_type") == "history":
                items = {(item.key or item.nested_key[0]): json.loads(item.value_json) for item in record.history.item}
                found.append((items.pop("_step"), items))
    assert len(ids) == 1
    return found


READ = {"tensorboard": tensorboard, "mlflow": mlflow, "trackio": trackio, "wandb": wandb}


def tracked(kind: str, store: Path) -> dict[str, list[tuple[int, float]]]:
    """The figures that a tracker has, by name."""
    found: dict[str, list[tuple[int, float]]] = {}
    for step, figures in READ[kind](store):
        for name, value in figures.items():
            found.setdefault(name, []).append((step, value))
    return {name: sorted(values) for name, values in found.items()}


def agrees(kind: str, store: Path, folder: Path) -> bool:
    """Whether a tracker has each line of metrics once, and the result."""
    found = tracked(kind, store)
    lines = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    for name in ("bpb", "loss", "lr", "bytes"):
        assert found[name] == [(line["step"], pytest.approx(line[name], rel=1e-6)) for line in lines], name
    held_out = [(line["step"], pytest.approx(line["valid_bpb"], rel=1e-6)) for line in lines if "valid_bpb" in line]
    assert found["valid_bpb"] == held_out
    result = read_json(folder / "result.json")
    assert found["result_bpb"] == [(12, pytest.approx(result["bpb"], rel=1e-6))]
    return [line["step"] for line in lines] == STEPS


def test_the_options_are_the_trackers():
    from cpu1.cli.options import TRACKERS

    assert TRACKERS == KINDS


@pytest.mark.parametrize("kind", EACH)
def test_a_run_that_is_resumed_continues_its_tracked_run(job, kind):
    job = replace(job, track=(kind,))
    for step in (3, 8):
        assert train_apart(job, step) == 130
    assert read_json(job.folder / "tracking.json")[kind]["state"] == "interrupted"
    assert train_apart(job) == 0
    assert agrees(kind, job.folder, job.folder)


@pytest.mark.parametrize("kind", EACH)
def test_a_tracker_gets_what_was_before_it(job, kind):
    with pytest.raises(Interrupted):
        train(job, stop_at(5))
    train(job)
    before = (job.folder / "metrics.jsonl").read_bytes()
    store = job.folder.parent / "store"
    for _ in range(2):  # the second time, it has all
        assert train_apart(replace(job, track=(kind, kind), track_to=store)) == 0
    assert agrees(kind, store, job.folder)
    assert (job.folder / "metrics.jsonl").read_bytes() == before


def test_a_tracker_that_fails_does_not_end_the_training(job, tmp_path):
    (tmp_path / "file").write_text("in the way")
    told: list[object] = []
    train(replace(job, track=("tensorboard",), track_to=tmp_path / "file"), told.append)
    warned = [line for line in told if isinstance(line, str) and "--track" in line]
    assert len(warned) == 1
    assert "--track tensorboard: " in warned[0]
    assert "training continues" in warned[0]
    train(replace(job, track=("tensorboard",)))
    assert agrees("tensorboard", job.folder, job.folder)


def test_without_trackers_nothing_is_written(job):
    train(job)
    assert not (job.folder / "tracking.json").exists()


@pytest.mark.parametrize("kind", KINDS)
def test_a_package_that_is_missing_is_named_before_anything_is_written(job, kind, monkeypatch):
    monkeypatch.setitem(sys.modules, kind, None)
    with pytest.raises(UserError, match=rf"--track {kind}: .*pip install 'cpu1\[{kind}\]'"):
        train(replace(job, track=(kind,)))
    assert not job.folder.exists()


def test_damaged_notes_are_named(job):
    with pytest.raises(Interrupted):
        train(job, stop_at(3))
    (job.folder / "tracking.json").write_text('{"tensorboard": {"steps": 3}}')
    with pytest.raises(UserError, match=r"tracking\.json: is damaged"):
        train(replace(job, track=("tensorboard",)))
