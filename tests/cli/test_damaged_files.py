"""Small files of runs and studies that are damaged: every command says in one line which, and leaves no traceback."""

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from helpers.jobs import SHORT, stop_at, weights
from helpers.study_folders import make_run, write
from helpers.text import write_text

from cpu1.cli import main
from cpu1.errors import UserError
from cpu1.training.job import Job, train
from cpu1.training.loop import Interrupted

RUN = "04-demo-r1-s0"
DAMAGE: dict[str, Callable[[bytes], bytes]] = {
    "empty": lambda data: b"",
    "cut": lambda data: data[: len(data) // 2],
    "zeros": lambda data: bytes(len(data)),
    "binary": lambda data: bytes(range(256)),
    "UTF-16": lambda data: data.decode().encode("utf-16"),
    "nested": lambda data: b"[" * 100_000,
    "endless number": lambda data: b"9" * 10_000,
    "not a number": lambda data: b'{"seed": NaN}',
    "too large": lambda data: b'{"seed": 1e999}',
    "twice": lambda data: b'{"seed": 1, "seed": 2}',
    "a list": lambda data: b"[1]",
    "a string": lambda data: b'"text"',
    "null": lambda data: b"null",
}


@pytest.fixture
def study(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    for run in ("03", "04"):
        make_run(Path("study"), run)
        for name, value in (("recipe.json", {}), ("language.json", {})):
            write(Path("study") / f"{run}-demo-r1-s0" / name, value)
    write(Path("study/baselines.json"), {"uniform": {"bpb": 8.0}})
    write(Path("study/study.json"), {"format": 1, "data": "d", "field": "text", "plans": []})
    return tmp_path


@pytest.mark.parametrize("kind", DAMAGE)
def test_commands_name_the_damaged_file(study: Path, kind: str, capsys: pytest.CaptureFixture[str]) -> None:
    parts = (f"{RUN}/settings.json", f"{RUN}/recipe.json", f"{RUN}/result.json", f"{RUN}/documents.json",
             f"{RUN}/speed.json", f"{RUN}/language.json", "study.json", "baselines.json")  # fmt: skip
    for part in parts:
        path = study / "study" / part
        whole = path.read_bytes()
        path.write_bytes(DAMAGE[kind](whole))
        for command in ("report study -o out", "gather study -o all.jsonl", "compare study 04 03"):
            if kind in ("not a number", "too large", "twice") or "compare" not in command or RUN in part:
                assert main(command.split()) == 2, (part, command)
                (line,) = capsys.readouterr().err.splitlines()
                assert part in line
                assert len(line) < 400
        path.write_bytes(whole)
    assert {path.name for path in study.iterdir()} == {"study"}


@pytest.mark.parametrize("value", [10**400, -1, "many", None, True, [1], 1.5])
def test_a_wrong_value_is_named_with_its_key(study: Path, value: Any, capsys: pytest.CaptureFixture[str]) -> None:
    path = study / "study" / RUN / "result.json"
    write(path, {**json.loads(path.read_text()), "params": value})
    assert main(["report", "study", "-o", "out"]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert "result.json" in line
    assert '"params" is' in line


@pytest.fixture(scope="module")
def begun(tmp_path_factory: pytest.TempPathFactory) -> Job:
    """A run that was stopped after 5 of 12 steps."""
    shared = tmp_path_factory.mktemp("begun")
    job = Job(run="04", folder=shared / "run", scale="demo", data=str(write_text(shared)), cache=shared / "cache",
              threads=1, overrides=SHORT, eval_bytes=2000)  # fmt: skip
    train(replace(job, folder=shared / "whole"))
    with pytest.raises(Interrupted):
        train(job, stop_at(5))
    return job


def resumed(job: Job, folder: Path, damage: Callable[[bytes], bytes], name: str) -> dict[str, Any]:
    """The result of the begun run, taken up in a folder of its own with one file damaged."""
    shutil.copytree(job.folder, folder)
    (folder / name).write_bytes(damage((folder / name).read_bytes()))
    return train(replace(job, folder=folder))


METRICS: dict[str, Callable[[bytes], bytes]] = {
    "binary": lambda data: bytes(range(1, 256)) + b"\n",
    "zeros": lambda data: data + bytes(100) + b"\n",
    "a line cut in the middle": lambda data: data[:30] + data[60:],
    "no object": lambda data: data + b"3\n",
    "no step": lambda data: data + b'{"bytes": 3, "seconds": 1}\n',
    "text for a number": lambda data: data.replace(b'"step": 2', b'"step": "2"'),
    "a list for a number": lambda data: data.replace(b'"step": 3', b'"step": [3]'),
    "nested": lambda data: data + b"[" * 100_000 + b"\n",
}


@pytest.mark.parametrize("kind", METRICS)
def test_damaged_metrics_stop_a_run_that_goes_on(begun: Job, tmp_path: Path, kind: str) -> None:
    with pytest.raises(UserError, match=r"metrics.jsonl: line \d+ is damaged") as raised:
        resumed(begun, tmp_path / "run", METRICS[kind], "metrics.jsonl")
    assert "\n" not in str(raised.value)
    assert list((tmp_path / "run/checkpoints").iterdir())


@pytest.mark.parametrize("cut", [1, 40, 200])
def test_a_line_that_a_crash_cut_short_is_nothing(begun: Job, tmp_path: Path, cut: int) -> None:
    whole = begun.folder.with_name("whole")
    resumed(begun, tmp_path / "run", lambda data: data + data.splitlines()[-1][:cut], "metrics.jsonl")
    assert weights(tmp_path / "run") == weights(whole)
    assert len((tmp_path / "run/metrics.jsonl").read_bytes().splitlines()) == 12


@pytest.mark.parametrize("name", ["settings.json", "recipe.json"])
@pytest.mark.parametrize("kind", DAMAGE)
def test_a_damaged_description_stops_a_run_that_goes_on(begun: Job, tmp_path: Path, name: str, kind: str) -> None:
    with pytest.raises(UserError, match=name) as raised:
        resumed(begun, tmp_path / "run", DAMAGE[kind], name)
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize("key", ["teacher", "parent", "steps"])
def test_a_missing_key_is_named(begun: Job, tmp_path: Path, key: str) -> None:
    def without(data: bytes) -> bytes:
        return json.dumps({name: value for name, value in json.loads(data).items() if name != key}).encode()

    with pytest.raises(UserError, match=rf'settings.json: .*{key}("? is missing| = nothing)'):
        resumed(begun, tmp_path / "run", without, "settings.json")
