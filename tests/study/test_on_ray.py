"""Studies on a Ray cluster of nodes on this machine: the same results as without, whatever becomes of a node."""

import io
import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from helpers.buckets import bucket
from helpers.text import write_text
from rich.console import Console

from cpu1.cli import main
from cpu1.data.corpus import prepare
from cpu1.errors import UserError
from cpu1.study import runner
from cpu1.study.on_ray import ray_place
from cpu1.study.plan import Plan
from cpu1.study.runner import run_study
from cpu1.study.store import Store

pytest.importorskip("ray", reason="needs cpu1[ray]")
CLOCK = {"seconds", "bytes_per_s", "train", "curve"}  # of a result and of metrics: what a clock measured
RUNS = ("02", "03", "04", "05", "06", "07", "09", "10")
SHORT = ("--eval-bytes", "1k", "--set", "steps=24", "--set", "batch=2", "--set", "window=128")


class Nodes:
    """A cluster whose head has no cores, and `count` nodes with a core each."""

    def __init__(self, count: int) -> None:
        from ray.cluster_utils import Cluster

        self.cluster: Any = Cluster(initialize_head=True, head_node_args={"num_cpus": 0, "include_dashboard": False})
        self.nodes = [self.cluster.add_node(num_cpus=1) for _ in range(count)]
        self.cluster.wait_for_nodes()

    def lose(self) -> None:
        """A node fails, and no other one comes."""
        self.cluster.remove_node(self.nodes.pop(), allow_graceful=False)


@pytest.fixture(scope="module")
def text(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    folder = tmp_path_factory.mktemp("text")
    patch = pytest.MonkeyPatch()
    patch.setenv("CPU1_CACHE", str(folder / "cache"))
    patch.setenv("OMP_NUM_THREADS", "1")
    yield write_text(folder)
    patch.undo()


@pytest.fixture
def nodes(text: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Nodes]:
    monkeypatch.setenv("RAY_USAGE_STATS_ENABLED", "0")
    monkeypatch.setenv("RAY_ENABLE_UV_RUN_RUNTIME_ENV", "0")
    made = Nodes(2)
    monkeypatch.setenv("RAY_ADDRESS", made.cluster.address)
    yield made
    made.cluster.shutdown()


def make_plan(folder: Path, text: Path, *runs: str, **changes: Any) -> Plan:
    plan = Plan(
        folder, runs, (0,), "demo", "r1", str(text), jobs=1, device="cpu", extra=SHORT,
        data_sha256=prepare(str(text)).sha256,
    )  # fmt: skip
    return replace(plan, **changes)


def study(plan: Plan, store: str | None = None) -> tuple[int, str]:
    """Runs a study on the cluster; its exit status and what it printed."""
    printed = io.StringIO()
    with ray_place("ray", plan.folder, store) as place:
        status = run_study(replace(plan, jobs=100), {}, console=Console(file=printed, width=200), place=place)
    return status, printed.getvalue()


def results(folder: Path) -> dict[str, object]:
    """What the runs of a study left, but for what a clock measured and what a machine is."""
    found: dict[str, object] = {}
    for path in sorted(folder.glob("*-s0/*")):
        name = f"{path.parent.name}/{path.name}"
        if path.name in ("result.json", "metrics.jsonl"):
            lines = path.read_text().splitlines() if path.suffix == ".jsonl" else [path.read_text()]
            rows = [json.loads(line) for line in lines]
            found[name] = [{key: row[key] for key in row if key not in CLOCK} for row in rows]
            found[f"{name} curve"] = [[row["curve"][key] for key in ("bytes", "bpb")] for row in rows if "curve" in row]
        elif path.is_file() and path.name not in (
            "log.txt",
            "env.json",
            ".lock",
            "model.cpu1",
        ):  # the last holds the result
            found[name] = path.read_bytes()
    return found


def when(ready: Callable[[], bool], then: Callable[[], None]) -> threading.Thread:
    """Does something as soon as something is so."""

    def wait() -> None:
        deadline = time.monotonic() + 240
        while not ready() and time.monotonic() < deadline:
            time.sleep(0.02)
        then()

    thread = threading.Thread(target=wait)
    thread.start()
    return thread


def in_the_middle(folder: Path) -> bool:
    """Whether two runs have checkpoints and no result."""
    begun = {path.parent.parent for path in folder.glob("*-s0/checkpoints/[0-9]*")}
    return sum(not (path / "result.json").exists() for path in begun) >= 2


def copy(store: Store, folder: Path) -> Path:
    """What an address holds of runs 03 and 04, in a new folder."""
    shutil.rmtree(folder, ignore_errors=True)
    for name in ("03-demo-r1-s0", "04-demo-r1-s0"):
        with suppress(FileNotFoundError):  # a file that is gone meanwhile
            store.pull(name, folder / name)
    return folder


@pytest.mark.slow
def test_a_study_ends_the_same_when_a_node_is_lost(nodes: Nodes, text: Path, tmp_path: Path) -> None:
    plan = make_plan(tmp_path / "here", text, *RUNS)
    assert run_study(plan, {}, console=Console(file=io.StringIO())) == 0
    away = replace(plan, folder=tmp_path / "away", extra=(*SHORT, "--checkpoint-seconds", "0"))
    lost = when(lambda: in_the_middle(away.folder), nodes.lose)
    status, printed = study(away)
    lost.join()
    assert status == 0, printed
    assert "lost its node" in printed
    assert "8 of 8 done" in printed
    found = results(away.folder)
    assert len([name for name in found if name.endswith("model.safetensors")]) == 8
    assert found == results(plan.folder)
    assert study(away)[0] == 0  # nothing is trained again
    assert results(away.folder) == found


@pytest.fixture(params=["file", "s3", "gs"])
def address(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """Of a store; nodes that are made later know it as well."""
    if request.param == "file":
        yield f"file://{tmp_path / 'store'}"
    else:
        with bucket(request.param) as address:
            yield f"{address}/study"


@pytest.mark.slow
def test_run_folders_come_back_through_a_store(address: str, nodes: Nodes, text: Path, tmp_path: Path) -> None:
    plan = make_plan(tmp_path / "here", text, "03", "04")
    assert run_study(plan, {}, console=Console(file=io.StringIO())) == 0
    away = replace(plan, folder=tmp_path / "away", extra=(*SHORT, "--checkpoint-seconds", "0"))
    store = Store(address)
    lost = when(lambda: in_the_middle(copy(store, tmp_path / "copy")), nodes.lose)
    status, printed = study(away, address)
    lost.join()
    assert status == 0, printed
    assert "lost its node" in printed
    assert results(away.folder) == results(copy(store, tmp_path / "copy")) == results(plan.folder)
    assert not list((tmp_path / "copy").glob("*/checkpoints/*"))
    shutil.rmtree(away.folder)
    assert study(away, address)[0] == 0  # known from the store, and not trained again
    assert results(away.folder) == results(plan.folder)


@pytest.mark.slow
def test_each_run_keeps_its_tracker_and_brings_it_along(nodes: Nodes, text: Path, tmp_path: Path) -> None:
    """Also from a node that was lost: every step is there once."""
    events: Any = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    plan = make_plan(tmp_path / "away", text, "03", "04", track=("--track", "tensorboard"))
    address = f"file://{tmp_path / 'store'}"
    lost = when(lambda: in_the_middle(tmp_path / "store"), nodes.lose)
    status, printed = study(replace(plan, extra=(*SHORT, "--checkpoint-seconds", "0")), address)
    lost.join()
    assert status == 0, printed
    assert "lost its node" in printed
    for name in ("03-demo-r1-s0", "04-demo-r1-s0"):
        metrics = (plan.folder / name / "metrics.jsonl").read_text().splitlines()
        tracked = events.EventAccumulator(str(plan.folder / name / "tensorboard")).Reload()
        assert [each.step for each in tracked.Scalars("bpb")] == [json.loads(line)["step"] for line in metrics]


DRIVER = """
import sys
from cpu1.cli import main
sys.exit(main(sys.argv[1:]))
"""


@pytest.mark.slow
def test_an_interrupted_study_goes_on(nodes: Nodes, text: Path, tmp_path: Path) -> None:
    folder = tmp_path / "study"
    words = ["study", "--runs", "03,04,05", "--scale", "demo", "--data", str(text), "--bytes", "20k", *SHORT]
    words += ["--set", "steps=2000", "--device", "cpu", "--on", "ray", "-o", str(folder)]
    call = [sys.executable, "-c", DRIVER, *words]
    with subprocess.Popen(call, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as driver:
        wait_for(lambda: len([path for path in folder.glob("*/metrics.jsonl") if path.stat().st_size]) == 2)
        driver.send_signal(signal.SIGINT)
        printed = driver.communicate(timeout=60)[0]
    assert driver.returncode == 130, printed
    assert "run the same command again" in printed
    assert len(list(folder.glob("*/checkpoints/[0-9]*.safetensors"))) == 2
    assert not processes_in(folder)


@pytest.mark.slow
def test_a_killed_driver_leaves_no_process(nodes: Nodes, text: Path, tmp_path: Path) -> None:
    """And its runs are saved."""
    folder = tmp_path / "study"
    words = ["study", "--runs", "03", "--scale", "demo", "--data", str(text), "--bytes", "20k", *SHORT]
    words += ["--set", "steps=100000", "--device", "cpu", "--on", "ray", "-o", str(folder)]
    with subprocess.Popen([sys.executable, "-c", DRIVER, *words], stdout=subprocess.DEVNULL) as driver:
        wait_for(lambda: any(path.stat().st_size for path in folder.glob("*/metrics.jsonl")))
        driver.kill()
    wait_for(lambda: not processes_in(folder))
    assert list(folder.glob("*/checkpoints/[0-9]*.safetensors"))


@pytest.mark.slow
def test_a_search_finishes_the_same_run_as_a_study(nodes: Nodes, text: Path, tmp_path: Path) -> None:
    """Through a store, so that a run that was stopped goes on from what the store has."""
    words = ["sweep", "04", "--vary", "rate=1e-5,9e-3", "--scale", "demo", "--data", str(text), *SHORT]
    words += ["--device", "cpu", "--first-stop", "1/4", "--search", "asha", "--on", "ray"]
    assert main([*words, "--store", f"file://{tmp_path / 'store'}", "-o", str(tmp_path / "away")]) == 0
    slow, fast = json.loads((tmp_path / "away" / "sweep.json").read_text())["rows"]
    assert slow["stopped_at_step"] == 6
    assert "stopped_at_step" not in fast
    plan = make_plan(tmp_path / "here", text, "04", extra=(*SHORT, "--set", "rate=9e-3"))
    assert run_study(plan, {}, console=Console(file=io.StringIO())) == 0
    found = results(tmp_path / "away" / "runs" / "rate=9e-3")
    assert len([name for name in found if name.endswith("model.safetensors")]) == 1
    assert {name: found[name] for name in found if not name.endswith("speed.json")} == results(plan.folder)


def wait_for(ready: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 120
    while not ready():
        assert time.monotonic() < deadline, "never came"
        time.sleep(0.05)


def processes_in(folder: Path) -> list[int]:
    """The processes that train below a folder."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            words = path.read_bytes().split(b"\0")
        except OSError:
            continue
        if b"train" in words and any(word.startswith(os.fsencode(folder)) for word in words):
            found.append(int(path.parent.name))
    return found


@pytest.mark.parametrize("name", ["slurm", "ray://", "ray://head", "head:10001"])
def test_other_clusters_are_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(UserError, match="--on"), ray_place(name, tmp_path / "study"):
        pass
    assert not (tmp_path / "study").exists()


def test_a_run_that_ends_its_machines_is_given_up(tmp_path: Path) -> None:
    job = runner.make_jobs(Plan(tmp_path, ("03",), (0,), "demo", "r1", ""), {}, {})[0]
    job.folder.mkdir()
    states = []
    for _ in range(runner.MOST_LOST):
        job.message = "lost its node"
        runner.lose(job, stopping=False)
        states.append(job.state)
    assert states == ["waiting"] * (runner.MOST_LOST - 1) + ["failed"]
    assert "without a step further" in (job.folder / "error.json").read_text()
