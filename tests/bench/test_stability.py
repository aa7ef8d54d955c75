"""The table of stability: what it says of runs that trained, were stopped, failed, or fell back."""

import json
import shutil
from dataclasses import replace

import pytest
import stability
import torch
from helpers.text import write_text
from safetensors.torch import load_file, save_file

from cpu1.runs.folders import Key
from cpu1.training.guards import RunStopped
from cpu1.training.job import Job, train

SHORT = (("steps", 8), ("batch", 2), ("window", 64))
FREQUENCY = 4.5  # bits per byte


@pytest.fixture(scope="module")
def job(tmp_path_factory):
    folder = tmp_path_factory.mktemp("text")
    return Job(run="03", folder=folder / "unset", scale="demo", round="r3", data=str(write_text(folder)),
               cache=folder / "cache", threads=1, overrides=SHORT, eval_bytes=2000)  # fmt: skip


@pytest.fixture(scope="module")
def trained(job):
    folder = job.folder.with_name("trained")
    train(replace(job, folder=folder))
    return folder


def test_a_trained_run_and_a_stopped_one(job, trained, tmp_path):
    with pytest.raises(RunStopped):
        train(replace(job, folder=tmp_path, overrides=(*SHORT, ("rate", 1e30))))
    good, wild = (stability.row("03", folder, FREQUENCY) for folder in (trained, tmp_path))
    assert (good.ended, good.steps, good.nonfinite_steps, good.finite_weights) == ("trained", 8, 0, True)
    assert good.bpb == json.loads((trained / "result.json").read_text())["bpb"]
    assert good.largest_gradient > 0
    assert not good.fell_back
    assert (wild.ended, wild.bpb, wild.finite_weights) == ("stopped", None, True)
    assert "of 8 steps had a non-finite loss" in wild.message
    assert stability.sound([good], stress=None)
    assert not stability.sound([good, wild], stress=None)
    assert stability.sound([good, wild], stress=8)


def test_what_no_guard_ended_is_not_sound(tmp_path):
    (tmp_path / "error.json").write_text(json.dumps({"error": "crashed with exit status 1"}))
    row = stability.row("07", tmp_path, FREQUENCY)
    assert (row.ended, row.message, row.finite_weights) == ("failed", "crashed with exit status 1", False)
    assert not stability.sound([row], stress=8)


def test_weights_that_are_no_numbers_are_not_sound(trained, tmp_path):
    folder = shutil.copytree(trained, tmp_path / "spoilt")
    tensors = load_file(folder / "model.safetensors")
    next(iter(tensors.values())).view(-1)[0] = torch.nan
    save_file(tensors, folder / "model.safetensors")
    row = stability.row("03", folder, FREQUENCY)
    assert not row.finite_weights
    assert not stability.sound([row], stress=8)


@pytest.mark.parametrize(
    ("losses", "expected"),
    [
        ([9, 6, 3, 2, 2, 2], False),
        ([9, 6, 6, 6, 6, 6], False),  # it never learned, which another guard sees
        ([9, 3, 2, 2, 6, 6], True),
        ([9, 3, 2, 2, None, 6], True),  # an interval without a finite step has no loss
    ],
)
def test_falling_back_is_judged_by_a_running_mean(losses, expected):
    lines = [{"step": 100 * i, "bpb": bpb} for i, bpb in enumerate(losses, 1)]
    assert stability.fell_back(lines, FREQUENCY) == expected
    dip = [{"step": 100 + i, "bpb": 6 if i == 5 else 3} for i in range(10)]  # one hard batch is none
    assert not stability.fell_back(dip, FREQUENCY)


def test_under_stress_students_learn_from_the_unstressed_teacher(monkeypatch, tmp_path):
    plans = []
    monkeypatch.setattr(stability, "run_study", lambda plan, teachers: plans.append((plan, teachers)) or 0)
    plan = stability.Plan(tmp_path / "steady", ("01", "14", "15"), (0,), "nano", "r3", "text", extra=("--x",))
    stability.sweep(plan, stress=None)
    stability.sweep(plan, stress=8)
    (steady, taught), (teacher, _), (stressed, _) = plans
    assert (steady, taught) == (plan, {"14": "02", "15": "02"})
    assert (teacher.folder, teacher.runs, teacher.extra) == (plan.folder, ("02",), plan.extra)
    assert stressed.folder == tmp_path / "stress-8"
    assert stressed.extra[:5] == ("--x", "--set", "rate=0.048", "--set", "warmup=0")
    assert stressed.extra[5:] == ("--teacher", str(plan.folder / Key("02", "nano", "r3", 0).folder))
