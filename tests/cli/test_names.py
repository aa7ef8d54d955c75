"""Names that are not UTF-8: they are stored and found again, by every command that prints or keeps names."""

import json
import os
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
from helpers.jobs import SHORT, stop_at, weights
from helpers.text import write_text

from cpu1.cli import main
from cpu1.files import read_json, write_json
from cpu1.runs.settings import Settings
from cpu1.training.job import Job, train
from cpu1.training.loop import Interrupted

NAMES = [os.fsdecode(name) for name in (b"t\xff", b"\x80\xe4 x", b"\xed\xa0\xbd")]


@pytest.mark.parametrize("name", NAMES)
def test_json_keeps_them(tmp_path: Path, name: str) -> None:
    write_json(tmp_path / "file", {name: [name, "é\U0001f600\\udcff"]})
    assert read_json(tmp_path / "file") == {name: [name, "é\U0001f600\\udcff"]}
    (tmp_path / "file").read_text(encoding="utf-8")


@pytest.mark.parametrize("name", NAMES)
def test_a_run_from_its_text_to_its_report(
    tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    here = tmp_path / name
    here.mkdir()
    monkeypatch.chdir(here)
    monkeypatch.setenv("CPU1_CACHE", str(here / "cache"))
    text = write_text(here).rename(here / name)
    study = here / f"study {name}"
    job = Job(run="04", folder=study / "04-demo-r1-s0", scale="demo", data=str(text), threads=1, overrides=SHORT,
              eval_bytes=2000)  # fmt: skip
    with pytest.raises(Interrupted):
        train(job, stop_at(5))
    train(job)
    train(job)  # it is done
    train(replace(job, folder=here / "whole"))
    assert weights(job.folder) == weights(here / "whole")
    assert Settings.read(job.folder / "settings.json").data_source == str(text)
    run, out = str(job.folder), str(here / f"out {name}")
    for words in (
        ["eval", run, "--max-bytes", "1k"],
        ["pack", run, "-o", out + ".cpu1"],
        ["compress", str(text), "-m", out + ".cpu1", "-o", out + ".cpz"],
        ["held-out", str(study), "--text", f"x{name}={text}", "--max-bytes", "1k"],
        ["report", str(study), "-o", out],
        ["gather", str(study), "-o", out + ".jsonl"],
        ["report", out + ".jsonl", "-o", out],
        ["publish", run, "--to", out + " published"],
        ["check", "-m", out + ".cpu1", "--words", str(text), "--bytes", "64", "-o", out + ".json"],
    ):
        assert main(words) == 0, (words, capsys.readouterr().err)
    assert json.loads(Path(out, "report.json").read_bytes())
    shutil.rmtree(here)
