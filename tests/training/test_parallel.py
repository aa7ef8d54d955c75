"""Several processes train what one would: real groups of two, started by torchrun on this machine, joined by gloo.

`WORKER` is `cpu1 train` as a script, with two liberties. It may compute in double: one training step of a ternary
model rounds thousands of numbers, and a sum taken in another order sooner or later rounds one differently, after
which two runs drift apart, in one process as well; in double it is what it should be that is compared, and nothing
else. And things happen to its last process, at the steps that `events` names.
"""

import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from helpers.settings import PLAN
from helpers.text import write_text

from cpu1 import cli, device
from cpu1.errors import UserError
from cpu1.model import ladder
from cpu1.model.network import build
from cpu1.runs.settings import Settings
from cpu1.runs.trained import load
from cpu1.training import loop
from cpu1.training.job import Job, train
from cpu1.training.lessons import ModelTeacher
from cpu1.training.parallel import Group, Ranks, Shards
from cpu1.training.plan import _agree_in_group
from cpu1.training.step import losses

STEPS = 50
TORCHRUN = (sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2")

WORKER = """
import json, os, signal, sys
from pathlib import Path

import torch
from cpu1 import ops
from cpu1.training import guards, job, loop

words = json.loads(sys.argv[1])
build, run, step = loop.build, loop.run, loop.step

def trained(*arguments):
    model, progress = run(*arguments)
    return model.float(), progress

def stepped(replica, optimizer, batch, number, settings, teacher, group):
    last = group.ranks.rank == group.ranks.world - 1
    happens = words["events"].get(str(number + 1)) if last else None
    if happens == "raise" and os.environ["TORCHELASTIC_RESTART_COUNT"] == "0":
        raise ValueError("a bug in one process")
    if happens in ("SIGKILL", "SIGINT"):
        os.kill(os.getpid(), getattr(signal, happens))
    cross_entropy = ops.cross_entropy
    if happens == "nan":
        ops.cross_entropy = lambda *inputs: torch.nan * cross_entropy(*inputs)
    done = step(replica, optimizer, batch, number, settings, teacher, group)
    ops.cross_entropy = cross_entropy
    return done

loop.build = guards.build = lambda recipe, seed: build(recipe, seed).double()
loop.run, loop.step, job.CURVE_BYTES = trained, stepped, 500
try:
    job.train(job.Job(
        run=words["run"], folder=Path(words["folder"]), scale="demo", data=words["data"], cache=Path(words["cache"]),
        threads=1, eval_bytes=500, shard=words.get("shard", False), checkpoint_seconds=words.get("every", 60.0),
        teacher=Path(words["teacher"]) if "teacher" in words else None,
        overrides=(("steps", words["steps"]), ("batch", 4), ("window", 32), ("precision", "fp32"),
                   *map(tuple, words.get("knobs", ())))))
except loop.Interrupted:
    sys.exit(130)
"""


@pytest.fixture(scope="module")
def shared(tmp_path_factory):
    folder = tmp_path_factory.mktemp("parallel")
    write_text(folder)
    (folder / "worker.py").write_text(WORKER)
    return folder


def work(shared: Path, folder: Path, start=TORCHRUN, **words) -> subprocess.CompletedProcess:
    """Runs the worker, by default as a group of two."""
    words = {"run": "07", "steps": STEPS, "folder": str(folder), "data": str(shared / "topics.txt"),
             "cache": str(shared / "cache"), "events": {31: "nan"}, **words}  # fmt: skip
    return execute([*start, str(shared / "worker.py"), json.dumps(words)])


def execute(command) -> subprocess.CompletedProcess:
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    return subprocess.run(command, capture_output=True, text=True, check=False, env=environment, timeout=300)


def curve(folder: Path, key: str = "loss") -> list:
    return [json.loads(line).get(key) for line in (folder / "metrics.jsonl").read_text().splitlines()]


def saved_steps(folder: Path) -> list[int]:
    return sorted(int(path.stem) for path in (folder / "checkpoints").iterdir())


@pytest.fixture(scope="module")
def alone(shared):
    """Run 07 in one process; in all tests the loss of step 31 is not finite in the last process."""
    done = work(shared, shared / "alone", start=(sys.executable,))
    assert done.returncode == 0, done.stderr
    return shared / "alone"


def assert_same(folder: Path, alone: Path) -> None:
    """That a run of one or more processes is what it would have been in one."""
    for key in ("loss", "grad_norm", "deletion_rate"):
        one, two = curve(alone, key), curve(folder, key)
        assert len(one) == len(two) == STEPS
        assert one.index(None) == two.index(None) == 30
        assert two[:30] + two[31:] == pytest.approx(one[:30] + one[31:], abs=1e-9)
    assert curve(folder, "bytes") == curve(alone, "bytes")
    result, expected = (json.loads((each / "result.json").read_text()) for each in (folder, alone))
    assert result["nonfinite_steps"] == 1
    assert result["bpb"] == pytest.approx(expected["bpb"], abs=1e-5)
    pressures = [load(each).model.gate.pressure for each in (folder, alone)]
    assert pressures[0] != 0
    torch.testing.assert_close(*pressures)


@pytest.mark.parametrize("shard", [False, True])
def test_two_processes_train_what_one_trains(shared, alone, tmp_path, shard):
    """The gate's controller, clipping and the non-finite guard included."""
    done = work(shared, tmp_path, shard=shard)
    assert done.returncode == 0, done.stderr
    assert_same(tmp_path, alone)
    assert json.loads((tmp_path / "env.json").read_text())["processes"] == 2


def test_a_run_goes_on_after_whatever_happened_in_any_number_of_processes(shared, alone, tmp_path):
    """Two until one is killed; one until it is stopped; two with shards, restarted once and then stopped; one."""
    done = work(shared, tmp_path, events={8: "SIGKILL"}, every=0.0)
    assert done.returncode != 0
    assert "SIGKILL" in done.stderr
    assert saved_steps(tmp_path) == [6, 7]

    done = work(shared, tmp_path, start=(sys.executable,), events={12: "SIGINT"})
    assert done.returncode == 130
    assert saved_steps(tmp_path)[-1] == 12

    events = {14: "raise", 16: "SIGINT"}  # the signal reaches one process, and both stop
    done = work(shared, tmp_path, (*TORCHRUN, "--max-restarts", "1"), events=events, every=0.0, shard=True)
    assert done.returncode != 0
    assert "ValueError: a bug in one process" in done.stderr
    assert saved_steps(tmp_path) == [15, 16]

    done = work(shared, tmp_path, start=(sys.executable,))
    assert done.returncode == 0, done.stderr
    assert_same(tmp_path, alone)
    assert not (tmp_path / "error.json").exists()


@pytest.mark.parametrize("run", ["03", "18", "19"])
def test_the_command_line_in_full_precision(shared, tmp_path, capsys, run):
    """`torchrun -m cpu1 train RUN` in fp32: within 1e-4; one process speaks.

    Gradients of tables are sparse in one process and dense in two.
    """
    words = ["train", run, "--scale", "demo", "--data", str(shared / "topics.txt"), "--eval-bytes", "500",
             "--device", "cpu", "--threads", "1", "--set", f"steps={STEPS}", "--set", "batch=4", "--set", "window=64",
             "--set", "precision=fp32", "--out"]  # fmt: skip
    assert cli.main([*words, str(tmp_path / "one")]) == 0
    done = execute([*TORCHRUN, "-m", "cpu1", *words, str(tmp_path / "two")])
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("run folder:") == capsys.readouterr().out.count("run folder:") == 1
    alike = {"03": STEPS, "18": 12, "19": 4}[run]  # then an activation is rounded otherwise, and the runs part
    one, two = (curve(tmp_path / name) for name in ("one", "two"))
    np.testing.assert_allclose(two[:alike], one[:alike], rtol=0, atol=1e-4)
    np.testing.assert_allclose(two, one, rtol=0, atol=0.05)
    norms = [curve(tmp_path / name, "grad_norm")[:alike] for name in ("two", "one")]
    np.testing.assert_allclose(*norms, rtol=1e-3)


@pytest.mark.parametrize(("optimizer", "shard"), [("muon", False), ("adamw", True)])
def test_the_knobs_of_training_are_the_same_in_a_group(shared, tmp_path, optimizer, shard):
    """Held-out text included, which a model that is not ternary yet predicts in full precision."""
    knobs = (("optimizer", optimizer), ("z_loss", 1e-2), ("ternary_start", 0.5), ("schedule", "two-stage"))
    for folder, words in (("one", {"start": (sys.executable,)}), ("two", {"shard": shard})):
        done = work(shared, tmp_path / folder, steps=24, events={}, knobs=knobs, **words)
        assert done.returncode == 0, done.stderr
    for key in ("loss", "grad_norm"):
        assert curve(tmp_path / "two", key) == pytest.approx(curve(tmp_path / "one", key), abs=1e-9)
    bpb = [np.array(curve(tmp_path / folder, "valid_bpb")[:12], float) for folder in ("one", "two")]
    assert np.isfinite(bpb[0]).sum() > 3
    np.testing.assert_allclose(*bpb, atol=1e-5)


def test_a_result_that_is_no_number_stops_all_processes_for_the_same_reason(shared, tmp_path):
    """Only one of them scores held-out text."""
    words = ["train", "03", "--scale", "demo", "--data", str(shared / "topics.txt"), "--eval-bytes", "500", "--device",
             "cpu", "--set", "steps=1", "--set", "batch=4", "--set", "window=64", "--set", "precision=fp32",
             "--set", "rate=1e30", "--out", str(tmp_path), "--quiet"]  # fmt: skip
    done = execute([*TORCHRUN, "-m", "cpu1", *words])
    assert done.returncode != 0
    assert "is gone" not in done.stderr
    assert json.loads((tmp_path / "error.json").read_text())["kind"] == "RunStopped"
    assert saved_steps(tmp_path) == [1]


# ------------------------------------------------------------------------------------------ no group needed


@pytest.mark.parametrize("run", ["07", "15"])
def test_gradients_of_halves_average_to_those_of_the_batch(run):
    """So they do when the terms that are not linear in the batch (gate, distillation) get the mean over both halves."""
    model, teacher = (build(ladder.recipe(name, "demo"), 1).double().train() for name in (run, "02"))
    units = torch.randint(1, 256, (4, 32), generator=torch.Generator().manual_seed(0))

    def gradients(rows, mean):
        group = Group(torch.device("cpu"))
        group.mean = mean
        model.gate.progress, model.gate.pressure = 0.3, torch.zeros((), dtype=torch.float64)
        lesson = ModelTeacher(teacher, PLAN, 128)(rows, np.zeros(1)) if run == "15" else None
        objective, _ = losses(model, model(rows), rows, lesson, group)
        return torch.autograd.grad(objective, tuple(model.parameters()))

    asked = []  # what each half puts into its means, in order

    def ask(tensor):
        asked.append(tensor.detach())
        return tensor.detach()

    whole = gradients(units, lambda tensor: tensor.detach())
    for half in units.chunk(2):
        gradients(half, ask)
    means = [(a + b) / 2 for a, b in zip(*(asked[: len(asked) // 2], asked[len(asked) // 2 :]), strict=True)]
    parts = []
    for half in units.chunk(2):
        left = iter(means)
        parts.append(gradients(half, lambda _, left=left: next(left)))
    for expected, *halves in zip(whole, *parts, strict=True):
        torch.testing.assert_close(sum(halves) / 2, expected, rtol=1e-9, atol=1e-12)


def test_rows_are_shared_in_order():
    batch = np.arange(12, dtype=np.uint8).reshape(6, 2)
    shares = [Group(torch.device("cpu"), Ranks(rank, 3)).share(batch) for rank in range(3)]
    assert torch.equal(torch.cat(shares), torch.from_numpy(batch.astype(np.int64)))
    assert all(len(share) == 2 for share in shares)


def test_a_batch_that_cannot_be_shared_leaves_no_run_behind(shared, tmp_path, monkeypatch):
    group = Group(torch.device("cpu"), Ranks(0, 3))
    monkeypatch.setattr("cpu1.training.parallel.join", lambda *_: _entered(group))
    job = Job(run="07", folder=tmp_path, scale="demo", data=str(shared / "topics.txt"), cache=shared / "cache")
    with pytest.raises(UserError, match="4 windows cannot be shared evenly by 3 processes"):
        train(job)
    assert not (tmp_path / "settings.json").exists()
    with pytest.raises(UserError, match="cannot read one standard input"):
        train(replace(job, data="-"))


def test_muon_is_refused_where_matrices_are_split(shared, tmp_path, monkeypatch):
    group = Shards(torch.device("cpu"), Ranks(0, 2))
    group.first = lambda value: value
    monkeypatch.setattr("cpu1.training.parallel.join", lambda *_: _entered(group))
    job = Job(run="07", folder=tmp_path, scale="demo", data=str(shared / "topics.txt"), cache=shared / "cache")
    with pytest.raises(UserError, match="muon needs whole matrices, and --shard splits them"):
        train(replace(job, overrides=(("optimizer", "muon"),)))
    assert not (tmp_path / "settings.json").exists()


def test_a_lost_process_is_no_traceback(shared, tmp_path, monkeypatch):
    def lose(*_):
        raise RuntimeError("[/pytorch/third_party/gloo/gloo/transport/tcp/pair.cc:538] Connection closed by peer")

    monkeypatch.setattr(loop, "run", lose)
    job = Job(run="07", folder=tmp_path, scale="demo", data=str(shared / "topics.txt"), cache=shared / "cache")
    with pytest.raises(UserError, match="another one is gone; the newest checkpoint is good"):
        train(job)
    assert "is gone" in json.loads((tmp_path / "error.json").read_text())["error"]


class _entered:
    def __init__(self, group):
        self.group = group

    def __enter__(self):
        return self.group

    def __exit__(self, *_):
        pass


def test_processes_with_different_texts_are_refused(alone):
    settings = Settings.read(alone / "settings.json")
    group = Group(torch.device("cpu"), Ranks(1, 2))
    group.first = lambda value: replace(settings, data_sha256="another")
    with pytest.raises(UserError, match=r"process 1 has data_sha256 = .*, process 0 has another"):
        _agree_in_group(settings, group)


def test_the_ranks_come_from_the_environment(monkeypatch):
    assert Ranks.read() == Ranks(0, 1, 0, 1)
    for name, value in {"RANK": "5", "WORLD_SIZE": "8", "LOCAL_RANK": "1", "LOCAL_WORLD_SIZE": "4"}.items():
        monkeypatch.setenv(name, value)
    assert Ranks.read() == Ranks(5, 8, 1, 4)
    monkeypatch.setenv("RANK", "five")
    with pytest.raises(UserError, match=r"no number .*five"):
        Ranks.read()


def test_processes_share_the_cores_of_their_machine(monkeypatch):
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(16)), raising=False)
    threads = [Group(torch.device("cpu"), Ranks(local_world=count)).threads for count in (1, 2, 5, 32)]
    assert threads == [None, 8, 3, 1]


def test_devices(monkeypatch, capsys, tmp_path):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert device.choose("auto") == device.choose("cpu") == torch.device("cpu")
    with pytest.raises(UserError, match="there are auto, cpu, cuda"):
        device.choose("gpu")
    assert cli.main(["train", "03", "--device", "cuda", "--out", str(tmp_path / "run")]) == 2
    assert "--device cuda: torch finds no GPU here" in capsys.readouterr().err
    assert not (tmp_path / "run").exists()
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    assert device.choose("auto", 1) == device.choose("cuda", 1) == torch.device("cuda", 1)
    assert device.choose("cpu", 7) == torch.device("cpu")
    with pytest.raises(UserError, match="3 or more processes on a machine with 2 GPU"):
        device.choose("auto", 2)
