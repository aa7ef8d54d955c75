"""The runner, with a made-up training command."""

import io
import json
import os
import signal
import subprocess
import sys
import threading
import time
from dataclasses import replace
from pathlib import Path

import pytest
from rich.console import Console

from cpu1.errors import UserError
from cpu1.files import locked
from cpu1.runs.folders import LOCK
from cpu1.runs.studies import load_runs
from cpu1.study import runner
from cpu1.study.live import LiveView
from cpu1.study.plan import Plan, make_jobs, with_teachers
from cpu1.study.runner import run_study
from cpu1.study.start import Request
from cpu1.study.start import make_plan as start_plan

TRAINER = """
import json, os, pathlib, signal, sys, time
run, words = sys.argv[1], sys.argv[2:]
options = dict(zip(words[::2], words[1::2]))
out = pathlib.Path(options["--out"])
with (out.parent / "calls.txt").open("a") as calls:
    calls.write(json.dumps([run, *words]) + "\\n")
(out / "pid").write_text(str(os.getpid()))
if run == "bad":
    (out / "error.json").write_text(json.dumps({"error": "the text is empty"}))
    sys.exit(2)
if run == "crash":
    sys.exit("something broke")
if run == "silent":
    sys.exit(0)
if run == "slow" and not (out / "saved").exists():
    def leave(*_):
        with (out / "saved").open("a") as saved:
            saved.write("saved\\n")
        time.sleep(0.2)
        sys.exit(130)
    signal.signal(signal.SIGINT, leave)
    (out / "metrics.jsonl").write_text(json.dumps({"step": 5, "loss": 1.0, "bpb": 2.0}) + "\\n")
    while True:
        time.sleep(0.02)
(out / "result.json").write_text(json.dumps({"title": "made up", "step": 9, "val_loss": 1.1, "bpb": 1.6}))
"""


@pytest.fixture
def command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """A training command that only pretends."""
    monkeypatch.setattr(runner, "TICK", 0.02)
    script = tmp_path / "trainer.py"
    script.write_text(TRAINER)
    return [sys.executable, "-S", "-E", str(script)]


def make_plan(tmp_path: Path, *runs: str, **changes: object) -> Plan:
    plan = Plan(tmp_path / "study", runs, (0,), "demo", "r1", "text.txt", "", jobs=2, threads=1)
    return replace(plan, **changes)  # type: ignore[arg-type]


def study(plan: Plan, command: list[str], teachers: dict[str, str] | None = None) -> tuple[int, str]:
    """Runs a study; its exit status and what it printed."""
    text = io.StringIO()
    status = run_study(plan, teachers or {}, command=command, console=Console(file=text, width=200))
    return status, text.getvalue()


def calls(plan: Plan) -> list[list[str]]:
    return [json.loads(line) for line in (plan.folder / "calls.txt").read_text().splitlines()]


def test_runs_what_is_missing_and_nothing_twice(tmp_path: Path, command: list[str]) -> None:
    plan = make_plan(tmp_path, "03", "04", seeds=(0, 1), field="text", extra=("--bytes", "1000"))
    assert study(plan, command)[0] == 0
    assert sorted(call[0] for call in calls(plan)) == ["03", "03", "04", "04"]
    (first,) = [call for call in calls(plan) if call[0] == "03" and call[call.index("--seed") + 1] == "0"]
    out = str(plan.folder / "03-demo-r1-s0")
    words = ["03", "--scale", "demo", "--round", "r1", "--seed", "0", "--data", "text.txt", "--field", "text"]
    assert first == [*words, "--out", out, "--threads", "1", "--device", "auto", "--quiet", "--bytes", "1000"]
    status, text = study(replace(plan, runs=("03", "04", "05")), command)
    assert status == 0
    assert [call[0] for call in calls(plan)][4:] == ["05", "05"]
    assert "6 of 6 done" in text


def test_tracking_is_no_part_of_what_a_study_is(tmp_path: Path, command: list[str]) -> None:
    request = Request(folder=tmp_path / "study", runs="03", seeds=1, scale="demo", round="r1", budget=None,
                      equal_bytes=False, data="text.txt", field="", jobs=1, threads=1, device="auto", overrides=(),
                      changes=(), eval_bytes=1 << 20, track=("tensorboard",))  # fmt: skip
    plan = start_plan(request)
    assert plan.track == ("--track", "tensorboard", "--track-to", str(tmp_path / "study"))
    assert study(plan, command)[0] == 0
    assert " ".join(plan.track) in " ".join(calls(plan)[0])
    assert study(replace(plan, track=()), command)[0] == 0


def test_a_text_is_known_by_its_content(tmp_path: Path, command: list[str]) -> None:
    plan = make_plan(tmp_path, "03", data_sha256="ab" * 32)
    assert study(plan, command)[0] == 0
    assert study(replace(plan, data="moved/text.txt", runs=("04",)), command)[0] == 0
    for other in (replace(plan, data_sha256="cd" * 32), replace(plan, field="title"), replace(plan, extra=("--x",))):
        before = {path: path.read_bytes() for path in plan.folder.glob("*.json")}
        with pytest.raises(UserError, match="would not compare"):
            run_study(other, {}, command=command, beside={"baselines.json": {}})
        assert {path: path.read_bytes() for path in plan.folder.glob("*.json")} == before


def test_teachers_are_added_and_trained_first(tmp_path: Path, command: list[str]) -> None:
    plan = make_plan(tmp_path, "03", "14", jobs=1)
    assert study(plan, command, {"14": "02", "15": "02"})[0] == 0
    made = calls(plan)
    assert [call[0] for call in made] == ["02", "03", "14"]
    assert made[-1][made[-1].index("--teacher") + 1] == str(plan.folder / "02-demo-r1-s0")
    assert all("--teacher" not in call for call in made[:-1])


def test_jobs_come_ladder_by_ladder() -> None:
    plan = with_teachers(Plan(Path("s"), ("03", "02", "14"), (0, 1), "demo", "r1", ""), {"14": "02"})
    jobs = make_jobs(plan, {"14": "02"}, {})
    assert [(job.key.run, job.key.seed) for job in jobs[:4]] == [("03", 0), ("02", 0), ("14", 0), ("03", 1)]
    assert jobs[5].teacher is jobs[4]
    assert [job.teaches for job in jobs[:3]] == [False, True, False]


def test_failures_are_told_apart_and_do_not_stop_the_others(tmp_path: Path, command: list[str]) -> None:
    plan = make_plan(tmp_path, "bad", "crash", "silent", "student", "03", jobs=1)
    status, text = study(plan, command, {"student": "bad"})
    assert status == 1
    assert (plan.folder / "03-demo-r1-s0" / "result.json").exists()
    assert "bad-demo-r1-s0 failed: the text is empty" in text
    assert "something broke" in text
    assert "ended without a result.json" in text
    assert "student-demo-r1-s0 blocked" in text
    errors = {run.key.run: run.fault and run.fault.error for run in load_runs_without_results(plan.folder)}
    assert errors["crash"]
    assert "exit status 1" in errors["crash"]
    assert errors["student"]
    assert "its teacher bad-demo-r1-s0 failed" in errors["student"]


def load_runs_without_results(folder: Path) -> list:
    """The runs as the report reads them; the made-up trainer's results are too short to be read."""
    for path in folder.glob("*/result.json"):
        path.unlink()
    return load_runs(folder)


@pytest.mark.parametrize("change", [{"data": "other.txt"}, {"field": "body"}, {"extra": ("--bytes", "7")}])
def test_a_study_keeps_what_makes_its_runs_comparable(
    tmp_path: Path, command: list[str], change: dict[str, object]
) -> None:
    plan = make_plan(tmp_path, "03")
    assert study(plan, command)[0] == 0
    with pytest.raises(UserError, match=r"study\.json.*would not compare"):
        study(replace(plan, **change), command)  # type: ignore[arg-type]
    assert study(replace(plan, round="r2", extra=("--bytes", "7")), command)[0] == 0
    held = json.loads((plan.folder / "study.json").read_text())
    assert [part["runs"] for part in held["plans"]] == [{"03": [0]}, {"03": [0]}]


def test_a_run_may_be_tuned_by_itself(tmp_path: Path, command: list[str]) -> None:
    plan = make_plan(tmp_path, "03", "04", extra=("--set", "clip=2"), tuned=(("03", "rate=3e-3"), ("03", "beta2=0.9")))
    assert study(plan, command)[0] == 0
    words = {call[0]: call for call in calls(plan)}
    assert words["03"][-6:] == ["--set", "clip=2", "--set", "rate=3e-3", "--set", "beta2=0.9"]
    assert words["04"][-2:] == ["--set", "clip=2"]
    for other in ((), (("03", "rate=1e-3"),)):
        with pytest.raises(UserError, match=r"run 03 tuned by .*rate=3e-3.* would not compare"):
            study(replace(plan, tuned=other), command)
    more = replace(plan, runs=("02",), tuned=(("02", "rate=1e-3"),))
    assert study(more, command)[0] == 0
    (part,) = json.loads((plan.folder / "study.json").read_text())["plans"]
    assert part["tuned"] == {"03": ["rate=3e-3", "beta2=0.9"], "02": ["rate=1e-3"]}


def test_plans_that_ask_for_nothing_are_refused(tmp_path: Path, command: list[str]) -> None:
    for change in ({"runs": ()}, {"seeds": ()}, {"jobs": 0}, {"threads": 0}):
        with pytest.raises(UserError):
            study(make_plan(tmp_path, "03", **change), command)


def test_two_studies_in_one_folder_are_refused(tmp_path: Path, command: list[str]) -> None:
    plan = make_plan(tmp_path, "03")
    plan.folder.mkdir()
    with runner.at_work(plan.folder), pytest.raises(UserError, match="another study"):
        study(plan, command)


def test_a_run_that_another_process_still_trains_is_waited_for(tmp_path: Path, command: list[str]) -> None:
    """As after `kill -9` of a study, whose processes train on."""
    plan = make_plan(tmp_path, "03", "04", jobs=1)
    other = plan.folder / "03-demo-r1-s0"
    let_go = threading.Event()
    seen: list[list[str]] = []

    def hold() -> None:
        with locked(other / LOCK):
            holding.set()
            time.sleep(0.3)
            seen.extend(calls(plan) if (plan.folder / "calls.txt").exists() else [])
        let_go.set()

    holding = threading.Event()
    thread = threading.Thread(target=hold)
    thread.start()
    holding.wait()
    status, _ = study(plan, command)
    thread.join()
    assert (status, let_go.is_set(), seen) == (0, True, [])  # its core is not given to the other run either
    assert sorted(words[0] for words in calls(plan)) == ["03", "04"]


def test_a_command_that_does_not_exist_is_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no-such-command"):
        study(make_plan(tmp_path, "03"), ["no-such-command"])


DRIVER = """
import sys
from pathlib import Path
from cpu1.study.plan import Plan
from cpu1.study.runner import run_study
plan = Plan(Path(sys.argv[1]), ("slow", "03"), (0,), "demo", "r1", "text.txt", jobs=1)
sys.exit(run_study(plan, {}, command=sys.argv[2:]))
"""


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupted_study_saves_and_goes_on(tmp_path: Path, command: list[str], how: signal.Signals) -> None:
    folder = tmp_path / "study"
    slow = folder / "slow-demo-r1-s0"
    call = [sys.executable, "-c", DRIVER, str(folder), *command]
    with subprocess.Popen(call, stdout=subprocess.PIPE, text=True) as driver:
        wait_for(slow / "metrics.jsonl")
        driver.send_signal(how)
        text = driver.communicate(timeout=30)[0]
    assert driver.returncode == 130
    assert "run the same command again" in text
    assert (slow / "saved").read_text() == "saved\n"
    assert not alive(slow)
    assert not (folder / "03-demo-r1-s0").exists()
    assert subprocess.run(call, capture_output=True, timeout=30).returncode == 0
    assert (slow / "result.json").exists()


def test_no_process_outlives_an_exception(tmp_path: Path, command: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    plan = make_plan(tmp_path, "slow")
    slow = plan.folder / "slow-demo-r1-s0"

    def show(view: LiveView, jobs: object) -> None:
        wait_for(slow / "metrics.jsonl")
        raise RuntimeError("the terminal went away")

    monkeypatch.setattr(LiveView, "show", show)
    console = Console(file=io.StringIO(), force_terminal=True)
    with pytest.raises(RuntimeError, match="went away"):
        run_study(plan, {}, command=command, console=console)
    assert not alive(slow)


def wait_for(path: Path) -> None:
    deadline = time.monotonic() + 30
    while not path.exists():
        assert time.monotonic() < deadline, f"{path} never came"
        time.sleep(0.02)


def alive(folder: Path) -> bool:
    """Whether the process that worked on a folder is still there."""
    try:
        os.kill(int((folder / "pid").read_text()), 0)
    except ProcessLookupError:
        return False
    return True


def test_the_live_table_shows_every_run(tmp_path: Path, command: list[str]) -> None:
    text = io.StringIO()
    console = Console(file=text, force_terminal=True, width=120, height=40)
    assert run_study(make_plan(tmp_path, "03", "bad"), {}, {"bad": "[not] markup"}, command, console) == 1
    shown = text.getvalue()
    for word in ("[not] markup", "made up", "1.600", "failed", "elapsed"):
        assert word in shown
