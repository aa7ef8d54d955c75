"""`make gpu`, rehearsed on the CPU: what it does, what it leaves behind when it is killed, what it packs."""

import argparse
import json
import lzma
import os
import subprocess
import sys
import tarfile
import time
import zipfile
from pathlib import Path

import gpu_data
import gpu_here
import gpu_share
import gpu_train
import pytest
import torch
from gpu_output import BYTES, FILES, Output, read_lines
from gpu_study import graphs_pay

from cpu1.errors import UserError

BENCH = Path(__file__).parents[2] / "bench"


def rehearse(folder: Path, *words: str) -> subprocess.Popen[str]:
    """One tiny run on the CPU, results in `folder`/out."""
    command = [sys.executable, str(BENCH / "gpu_study.py"), "--device", "cpu", "--stages", "demo-r1:03"]
    command += ["--data", str(folder / "text.txt"), "--valid", str(folder / "valid"), "--set", "steps=4"]
    command += ["--eval-bytes", "2048", "--held-out-bytes", "2048", "--at-once", "1", "--threads", "1"]
    environment = {key: value for key, value in os.environ.items() if key != "OUT"}
    return subprocess.Popen([*command, *words], cwd=folder, env=environment, stdout=subprocess.PIPE, text=True)


@pytest.fixture
def texts(tmp_path: Path) -> Path:
    sentences = [f"{'Every' if i % 3 else 'No'} word of line {i * i} is {i} times as long as the last.\n"
                 for i in range(4000)]  # fmt: skip
    (tmp_path / "text.txt").write_text("\f\n".join("".join(sentences[i : i + 40]) for i in range(0, 4000, 40)))
    (tmp_path / "valid").mkdir()
    (tmp_path / "valid" / "lines.txt").write_text("\f\n".join("".join(sentences[i::50]) for i in range(50)))
    return tmp_path


def test_a_rehearsal_that_is_killed_and_called_again(texts: Path) -> None:
    first, lines = rehearse(texts), texts / "runs/gpu/lines.jsonl"
    while not any(line["kind"] == "against_cpu" for line in read_lines(lines)):
        assert first.poll() is None
        time.sleep(0.1)
    first.kill()
    first.wait()
    report = json.loads((texts / "runs/gpu/report.json").read_text())
    assert [step["step"] for step in report["steps"]][:2] == ["machine", "kernels"]

    second = rehearse(texts)
    told, _ = second.communicate()
    assert second.returncode == 0, told
    report = json.loads((texts / "runs/gpu/report.json").read_text())
    status = {step["step"]: step["status"] for step in report["steps"]}
    assert status["machine"] == status["training"] == "done"
    assert status["kernels"] == "known"
    assert status["speed"] in ("done", "time is up")  # on a busy machine
    (run,) = report["runs"]
    assert run["name"] == "03-demo-r1-s0"
    assert run["state"] == "done"
    assert run["step"] == 4
    assert 0 < run["held_out"]["lines"] < 8
    assert {"machine", "integers", "against_cpu"} <= {line["kind"] for line in read_lines(lines)}
    files = {path.name for path in (texts / "runs/gpu").iterdir()}
    assert files == {"lines.jsonl", "report.json", "runs.tar.gz", "03-demo-r1-s0.cpu1"}

    # on another machine, from what came back
    other = Output(texts / "there/out", texts / "there/work")
    other.restore(texts / "runs/gpu")
    assert other.lines() == list(read_lines(lines))
    assert other.runs() == report["runs"]
    assert (other.study / "03-demo-r1-s0/model.cpu1").exists()


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is one")
def test_without_a_gpu_it_says_so(texts: Path) -> None:
    command = [sys.executable, str(BENCH / "gpu_study.py"), "--data", str(texts / "text.txt")]
    done = subprocess.run(command, cwd=texts, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert "torch finds no GPU here; --device cpu" in done.stderr


def make_run(study: Path, name: str, size: int) -> None:
    folder = study / name
    folder.mkdir(parents=True)
    (folder / "model.cpu1").write_bytes(bytes(size))
    result = {"params": 1, "bpb": 2.0, "file_bytes": size, "nonfinite_steps": 0, "gate": None, "bytes_seen": 9}
    (folder / "result.json").write_text(json.dumps(result | {"train": {"bytes_per_s": 1.0}}))


def test_few_files_come_back_and_none_too_large(tmp_path: Path) -> None:
    output = Output(tmp_path / "out", tmp_path / "work")
    for run in ("01", "02", "03", "04", "05", "06", "07", "10"):
        make_run(output.study, f"{run}-base-r1-s0", BYTES + 1 if run == "10" else 11_000_000)
    output.add({"kind": "speed"})
    output.report({})
    output.collect()
    files = {path.name: path.stat().st_size for path in output.folder.iterdir()}
    assert len(files) == FILES
    assert max(files.values()) <= BYTES
    assert {name for name in files if name.endswith(".cpu1")} == {
        f"{run}-base-r1-s0.cpu1" for run in ("07", "04", "06", "05")
    }
    make_run(output.study, "07-base-r2-s0", 11_000_000)
    output.collect()
    models = {path.name for path in output.folder.glob("*.cpu1")}
    assert "07-base-r2-s0.cpu1" in models
    assert "05-base-r1-s0.cpu1" not in models
    with tarfile.open(output.folder / "runs.tar.gz") as archive:
        assert "study/07-base-r2-s0/result.json" in archive.getnames()
        assert not any("model" in name for name in archive.getnames())
    with pytest.raises(UserError, match=r"holds no lines\.jsonl"):
        output.restore(tmp_path)


def test_graphs_are_taken_where_they_ran_and_were_not_slower() -> None:
    def line(mode: str, rate: float, size: int = 16384, run: str = "07") -> dict[str, object]:
        return {"kind": "speed", "run": run, "mode": mode, "scale": "base", "batch_bytes": size, "bytes_per_s": rate}

    assert graphs_pay([line("eager", 1.0), line("graphs", 2.0)])
    assert graphs_pay([line("graphs", 2.0), line("eager", 9.0, 65536), line("graphs", 8.0, 65536)])
    assert not graphs_pay([line("eager", 2.0), line("graphs", 1.0)])
    slow = [line("eager", 2.0, 8192, "18"), line("graphs", 1.0, 8192, "18")]
    assert not graphs_pay([line("eager", 1.0), line("graphs", 2.0), *slow])
    assert not graphs_pay([line("eager", 1.0), {"kind": "speed", "mode": "graphs", "failed": "no"}])


def test_stages() -> None:
    assert gpu_train.stage("base-r1:04,02a") == ("base", "r1", ("04", "02a"), ())
    assert gpu_train.stage("small-r3:18:batch=32,rate=4e-3") == ("small", "r3", ("18",), ("batch=32", "rate=4e-3"))
    for wrong in ("base", "base-r1", "huge-r1:04", "base-r1:04:", "base-1:04", "base-r1:04:batch"):
        with pytest.raises(argparse.ArgumentTypeError, match="SCALE-ROUND:RUNS like"):
            gpu_train.stage(wrong)


def test_settings_of_a_stage_are_for_its_runs_alone(tmp_path: Path) -> None:
    command = ["x", str(tmp_path), "--data", "text.txt", "--stages", "demo-r1:03", "demo-r3:04:batch=32"]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", command)
        args = gpu_train._parse()
    plans = [gpu_train.plan_of(args, each) for each in args.stages]
    assert [(plan.runs, plan.round, plan.tuned) for plan in plans] == [
        (("03",), "r1", ()), (("04",), "r3", (("04", "batch=32"),)),
    ]  # fmt: skip


def test_what_a_machine_lacks_is_not_trained(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture) -> None:
    monkeypatch.setattr(gpu_train, "native_available", lambda: False)
    assert gpu_train.trainable(("04", "17", "18")) == ("04", "17")
    assert "run 18 is not trained, for want of the native parts" in capsys.readouterr().out


def test_a_gpu_is_shared_only_where_its_daemon_works(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    environment = dict(os.environ)
    monkeypatch.setattr(gpu_share, "CONTROL", "no-such-program")
    assert "there is no no-such-program" in gpu_share.start(environment, tmp_path, sys.executable)
    assert not gpu_share.on(environment)
    monkeypatch.setattr(gpu_share, "CONTROL", "true")
    for probe, shared in (("assert False", False), ("", True)):
        monkeypatch.setattr(gpu_share, "PROBE", probe)
        gpu_share.start(environment, tmp_path, sys.executable)
        assert gpu_share.on(environment) is shared
    gpu_share.stop(environment)
    assert environment == dict(os.environ)


def test_libraries_that_python_has_not_come_from_wheels(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gpu_here, "WHEELS", tmp_path / "wheels")
    monkeypatch.setattr(gpu_here, "LIBRARIES", {"json": "json", "not_there": "not-there", "nor_this": "nor-this"})
    gpu_here.WHEELS.mkdir()
    for name in ("json", "not_there"):
        with zipfile.ZipFile(gpu_here.WHEELS / f"{name}-1.0-py3-none-any.whl", "w") as wheel:
            wheel.writestr(f"{name}.py", "there = True\n")
    environment = gpu_here.environment(tmp_path / "work")
    code = "import json, not_there, os; print(not_there.there, hasattr(json, 'dumps'), os.environ['TRITON_CACHE_DIR'])"
    told = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
    assert told.stdout.split() == ["True", "True", str(tmp_path / "work/cache/triton")]


def test_packing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, path in {"DATA": "", "TEXT": "text.txt.xz", "HELD_OUT": "valid", "WHEELS": "wheels"}.items():
        monkeypatch.setattr(gpu_here, name, tmp_path / "gpu-data" / path)
    data = tmp_path / "data"
    data.mkdir()
    for number, name in enumerate(("en-books.train.00", "en-tech.train.00")):
        lines = [f"{number} and {i} and {i * i * i}\n" for i in range(9000)]
        (data / f"{name}.txt").write_text("\f\n".join("".join(lines[i : i + 50]) for i in range(0, 9000, 50)))
    (data / "wikitext2.test.raw.txt").write_text(" = Title = \n\n text \n")
    monkeypatch.setattr(gpu_data, "SHARES", (("en-books.train.*", 60), ("en-tech.train.00*", 40)))
    args = argparse.Namespace(data=data, plain=None, limit=9000, python="3.12", libraries=[])
    gpu_data.pack(args)
    packed = gpu_here.TEXT.read_bytes()
    assert len(packed) <= 9000
    text = lzma.decompress(packed)
    assert {line[:1] for line in text.splitlines() if b"and" in line} == {b"0", b"1"}
    assert lzma.decompress((gpu_here.HELD_OUT / "wikitext2.txt.xz").read_bytes()) == b" = Title = \n\n text \n"
    assert json.loads((gpu_here.DATA / "about.json").read_text())["text"]["bytes"] == len(text)
    with pytest.raises(UserError, match="has no en-reference"):
        gpu_data.find(data, "spaced:en-reference.train.00*")
    monkeypatch.setattr(gpu_data, "TREE", 1000)
    with pytest.raises(UserError, match="leaves no room"):
        gpu_data.pack(args)
