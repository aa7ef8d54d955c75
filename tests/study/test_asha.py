"""The search of a sweep: who trains on, that nothing is decided twice, and that finished runs are those of a sweep."""

import io
import json
import math
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest
from helpers.settings import PLAN
from helpers.text import write_text
from rich.console import Console

from cpu1.cli import main
from cpu1.errors import UserError
from cpu1.files import write_json
from cpu1.study.asha import JOURNAL, Rule, Search
from cpu1.study.live import PlainView, seconds_left
from cpu1.study.plan import Job, Plan, make_jobs
from cpu1.study.sweep_table import Member, markdown, tabulate

STEPS = 64
NINE = dict(zip("abcdefghi", (5.0, 4.0, 3.0, 2.0, 2.5, 3.5, 4.5, 1.0, 5.5), strict=True))


def make(folder: Path, variants: Sequence[str], runs: tuple[str, ...] = ("04",), seeds: int = 1) -> list[Job]:
    """The jobs of a sweep; those with a result are done, as the runner finds them."""
    plans = [Plan(folder / "runs" / name, runs, tuple(range(seeds)), "demo", "r1", "", name=name) for name in variants]
    jobs = [job for plan in plans for job in make_jobs(plan, {}, {})]
    for job in jobs:
        if (job.folder / "result.json").exists():
            job.state = "done"
    return jobs


def train(job: Job, bpb: float) -> None:
    """What a training process leaves where it was to stop. A run of `inf` BPB fails in its last quarter."""
    write_json(job.folder / "settings.json", replace(PLAN, steps=STEPS).to_json())
    share = job.until or Fraction(1)
    points = [point for point in (Fraction(1, 16), Fraction(1, 4), Fraction(1, 2), Fraction(1)) if point <= share]
    figures = {"bytes": 1, "units": 1, "seconds": 1.0, "loss": 1.0, "bpb": 1.0, "lr": 1.0, "nonfinite": 0}
    lines = [{"step": round(point * STEPS), **figures, "valid_bpb": bpb} for point in points]
    (job.folder / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    if not job.until:
        write_json(job.folder / "result.json", {"bpb": bpb})
    job.state = "stopped" if job.until else "done"


def drive(search: Search, jobs: Sequence[Job], scores: Mapping[str, float], at_once: int = 1, most: int = 999) -> None:
    """Trains as the runner does, the oldest of what is under way first; `most`: runs before an interruption.

    A variant whose name is in capitals fails when it is to train to its end.
    """
    search.begin(jobs)
    for _ in range(most):
        search.grant(at_once)
        under_way = [job for job in jobs if job.granted and job.state == "waiting"]
        if not under_way:
            return
        job = under_way[0]
        if job.plan.name.isupper() and job.until is None:
            job.state = "failed"
        else:
            train(job, scores[job.plan.name] + job.key.seed)


def decisions(folder: Path) -> list[tuple[str, str]]:
    held = json.loads((folder / JOURNAL).read_text())
    return [(made["variant"], made["until"]) for made in held["decisions"]]


def until(folder: Path, share: str) -> str:
    """The variants that were let on to a share, in the order of the decisions."""
    return "".join(name for name, end in decisions(folder) if end == share)


def test_one_at_a_time_all_begin_and_the_best_quarter_goes_on(tmp_path: Path) -> None:
    jobs = make(tmp_path, list(NINE))
    drive(Search(Rule(), tmp_path), jobs, NINE)
    made = decisions(tmp_path)
    assert made == [*((name, "1/16") for name in NINE), ("h", "1/4"), ("d", "1/4"), ("h", "1")]
    assert [job.plan.name for job in jobs if job.state == "done"] == ["h"]
    assert {job.state for job in jobs} == {"done", "stopped"}


@pytest.mark.parametrize("at_once", [2, 3, 100])
def test_many_at_once_end_with_the_best(tmp_path: Path, at_once: int) -> None:
    jobs = make(tmp_path, list(NINE))
    drive(Search(Rule(), tmp_path), jobs, NINE, at_once)
    assert [job.plan.name for job in jobs if job.state == "done"] == ["h"]
    assert len(until(tmp_path, "1/4")) == 2


def test_with_eta_two_every_second_goes_on(tmp_path: Path) -> None:
    rule = Rule(2, Fraction(1, 4))
    assert [str(rung) for rung in rule.rungs] == ["1/4", "1/2", "1"]
    drive(Search(rule, tmp_path), make(tmp_path, list(NINE)), NINE)
    assert until(tmp_path, "1/2") == "hdec"
    assert until(tmp_path, "1") == "hd"


def test_an_interrupted_search_decides_the_same(tmp_path: Path) -> None:
    """Wherever it was: each piece begins with nothing but the folder."""
    drive(Search(Rule(), tmp_path / "whole"), make(tmp_path / "whole", list(NINE)), NINE)
    for most in range(1, 13):
        folder = tmp_path / str(most)
        drive(Search(Rule(), folder), make(folder, list(NINE)), NINE, most=most)
        search = Search(Rule(), folder)
        search.begin(make(folder, list(NINE)))
        search.grant(1)  # decided, and not one step trained
        drive(Search(Rule(), folder), make(folder, list(NINE)), NINE)
        assert decisions(folder) == decisions(tmp_path / "whole")


def test_runs_of_the_ladder_have_rungs_of_their_own(tmp_path: Path) -> None:
    jobs = make(tmp_path, ["a", "b", "c"], runs=("03", "04"))
    drive(Search(Rule(), tmp_path), jobs, {"a": 3.0, "b": 2.0, "c": 2.5})
    assert [(job.plan.name, job.key.run) for job in jobs if job.state == "done"] == [("b", "03"), ("b", "04")]


def test_seeds_are_judged_together_and_go_on_together(tmp_path: Path) -> None:
    jobs = make(tmp_path, ["a", "b"], seeds=2)
    drive(Search(Rule(), tmp_path), jobs, {"a": 3.0, "b": 2.0}, at_once=3)
    assert [(job.plan.name, job.key.seed) for job in jobs if job.state == "done"] == [("b", 0), ("b", 1)]
    more = make(tmp_path, ["a", "b"], seeds=3)
    drive(Search(Rule(), tmp_path), more, {"a": 3.0, "b": 2.0})
    assert [job.state for job in more] == ["stopped"] * 3 + ["done"] * 3
    assert len(decisions(tmp_path)) == 4  # nothing was decided again


def test_one_that_fails_makes_way_for_the_next_best(tmp_path: Path) -> None:
    scores = {"a": 3.0, "B": 1.0, "c": 2.0, "d": 4.0}
    jobs = make(tmp_path, list(scores))
    drive(Search(Rule(), tmp_path), jobs, scores)
    assert [job.state for job in jobs] == ["stopped", "failed", "done", "stopped"]


def test_one_that_fails_early_counts_as_the_worst(tmp_path: Path) -> None:
    jobs = make(tmp_path, list("abcd"))
    search = Search(Rule(), tmp_path)
    search.begin(jobs)
    search.grant(4)
    jobs[0].state = "failed"
    for job, bpb in zip(jobs[1:], (3.0, 2.0, math.nan), strict=True):
        train(job, bpb if math.isfinite(bpb) else None)  # type: ignore[arg-type]
    search.grant(4)
    assert decisions(tmp_path)[4:] == [("c", "1/4")]  # the best of four


def test_new_values_join_a_search(tmp_path: Path) -> None:
    drive(Search(Rule(), tmp_path), make(tmp_path, list("abcd")), NINE)
    before = decisions(tmp_path)
    jobs = make(tmp_path, list(NINE))
    drive(Search(Rule(), tmp_path), jobs, NINE)
    assert decisions(tmp_path)[: len(before)] == before
    assert until(tmp_path, "1/16") == "abcdefghi"
    assert until(tmp_path, "1/4") == until(tmp_path, "1") == "dh"  # h is better than d, which had finished


def test_runs_that_a_sweep_has_finished_count(tmp_path: Path) -> None:
    for job in make(tmp_path, list("abcd")):
        train(job, NINE[job.plan.name])
    jobs = make(tmp_path, list(NINE))
    drive(Search(Rule(), tmp_path), jobs, NINE)
    assert until(tmp_path, "1/16") == "efghi"
    assert [job.plan.name for job in jobs if job.state == "done"] == [*"abcdh"]


def test_another_rule_in_the_same_folder_is_refused(tmp_path: Path) -> None:
    drive(Search(Rule(), tmp_path), make(tmp_path, ["a", "b"]), NINE)
    with pytest.raises(UserError, match=r"search\.json.*eta 4 and stops at 1/16, 1/4, 1, now they are 2 and"):
        Search(Rule(2), tmp_path)
    text = (tmp_path / JOURNAL).read_text()
    (tmp_path / JOURNAL).write_text(text.replace('"until": "1"', '"until": "2"'))
    with pytest.raises(UserError, match=r"search\.json: a decision names no stop"):
        Search(Rule(), tmp_path)


@pytest.mark.parametrize("rule", [(3, Fraction(1, 16)), (1, Fraction(1, 16)), (4, Fraction(1, 3)), (4, Fraction(1))])
def test_rungs_are_where_runs_are_scored(rule: tuple[int, Fraction]) -> None:
    with pytest.raises(UserError, match="held-out learning curve"):
        Rule(*rule)


def test_what_is_shown(tmp_path: Path) -> None:
    drive(Search(Rule(), tmp_path), make(tmp_path, list("ab")), NINE, most=1)
    printed = io.StringIO()
    jobs = make(tmp_path, list("ab"))
    view = PlainView(Console(file=printed, width=200), jobs, 1)
    Search(Rule(), tmp_path).begin(jobs)
    jobs[1].state, jobs[1].until = "running", Fraction(1, 4)
    view.show(jobs)
    assert printed.getvalue().splitlines() == [
        "a 04-demo-r1-s0 stopped at 1/16 of its steps: 5.000 BPB",
        "b 04-demo-r1-s0 running to 1/4 of its steps",
    ]
    assert seconds_left(jobs, 1) is None  # nobody knows which will go on


def test_stopped_variants_have_a_table_of_their_own(tmp_path: Path) -> None:
    names = ["rate=1", "rate=2", "rate=3"]
    jobs = make(tmp_path, names)
    search = Search(Rule(), tmp_path)
    search.begin(jobs)
    search.grant(2)
    train(jobs[0], 3.0)
    train(jobs[1], 2.0)
    members = [Member({"rate": name[-1]}, job.plan) for name, job in zip(names, jobs, strict=True)]
    table = tabulate(members, (), Rule())
    first, second, third = table["rows"]
    assert [first[key] for key in ("stopped_at_step", "stopped_at_share", "stopped_bpb")] == [4, "1/16", 3.0]
    assert first["bpb"] is second["bpb"] is None
    assert first["troubles"] == []
    assert "stopped_at_step" not in third
    assert third["troubles"] == ["seed 0 unfinished: 0% of its steps"]
    assert table["search"] == {"eta": 4, "rungs": ["1/16", "1/4", "1"], "share_trained": pytest.approx(1 / 24)}
    text = markdown(table)
    assert "| 2 | 1/16 | 4 | 2.0000 |\n| 1 | 1/16 | 4 | 3.0000 |" in text
    assert "| 3 |  |  |" in text  # among the others
    assert "trained 4% of all steps" in text
    assert not any("stopped_at_step" in row for row in tabulate(members)["rows"])


# ------------------------------------------------------------------------------------ real training

CLOCK = {"seconds", "bytes_per_s", "train"}  # of a result and of metrics: what a clock measured
RATES = ("1e-3", "9e-3", "1e-5")
DRIVER = "import sys; from cpu1.cli import main; sys.exit(main(sys.argv[1:]))"


@pytest.fixture(scope="module")
def words(tmp_path_factory: pytest.TempPathFactory) -> Any:
    folder = tmp_path_factory.mktemp("text")
    patch = pytest.MonkeyPatch()
    patch.setenv("CPU1_CACHE", str(folder / "cache"))
    patch.setenv("OMP_NUM_THREADS", "1")
    yield ["sweep", "04", "--vary", f"rate={','.join(RATES)}", "--scale", "demo", "--data", str(write_text(folder)),
           "--set", "steps=64", "--set", "batch=2", "--set", "window=64", "--eval-bytes", "2000", "--device", "cpu",
           "--jobs", "1", "--eta", "2", "--first-stop", "1/4", "--search", "asha", "--out"]  # fmt: skip
    patch.undo()


def without_clock(value: Any) -> Any:
    """JSON without what a clock measured."""
    if isinstance(value, dict):
        return {key: without_clock(item) for key, item in value.items() if key not in CLOCK}
    return [without_clock(item) for item in value] if isinstance(value, list) else value


def figures(sweep: Path) -> list[dict[str, Any]]:
    """The rows of a sweep, but for speeds."""
    rows = json.loads((sweep / "sweep.json").read_text())["rows"]
    return [{key: row[key] for key in row if "per_s" not in key and "time" not in key} for row in rows]


def run_files(folder: Path) -> dict[str, Any]:
    """What a run left, but for logs, speeds and clocks."""
    found: dict[str, Any] = {}
    for path in sorted(folder.rglob("*")):
        if path.suffix == ".json" and path.name != "speed.json":
            found[path.name] = without_clock(json.loads(path.read_text()))
        elif path.name == "metrics.jsonl":
            found[path.name] = [without_clock(json.loads(line)) for line in path.read_text().splitlines()]
        elif path.suffix == ".safetensors":
            found[path.name] = path.read_bytes()
    return found


@pytest.mark.slow
def test_a_search_is_part_of_a_sweep_and_outlives_an_interruption(
    words: list[str], tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    whole, pieces = tmp_path / "whole", tmp_path / "pieces"
    assert main([*words, str(whole)]) == 0
    assert "| rate | stopped at | step | BPB there |" in capfd.readouterr().out
    rows = {row["values"]["rate"]: row for row in figures(whole)}
    assert {rate: row.get("stopped_at_step") for rate, row in rows.items()} == {"1e-3": 16, "9e-3": None, "1e-5": 16}
    assert decisions(whole)[2:] == [("rate=1e-5", "1/4"), ("rate=9e-3", "1/2"), ("rate=9e-3", "1")]
    kept = whole / "runs" / "rate=1e-3" / "04-demo-r1-s0" / "checkpoints"
    assert [path.name for path in kept.iterdir()] == ["000000016.safetensors"]

    call = [sys.executable, "-c", DRIVER, *words, str(pieces)]
    with subprocess.Popen(call, stdout=subprocess.DEVNULL) as driver:
        wait_for(pieces / "runs" / "rate=9e-3" / "04-demo-r1-s0" / "metrics.jsonl")
        driver.send_signal(signal.SIGINT)
    assert driver.returncode == 130
    assert main([*words, str(pieces)]) == 0
    assert figures(pieces) == figures(whole)
    assert decisions(pieces) == decisions(whole)

    plain = [*words[: words.index("--eta")], "--seeds", "1", "--vary", "rate=9e-3,1e-3", "--out"]
    del plain[plain.index("--vary") : plain.index("--scale")]
    before = run_files(whole / "runs" / "rate=9e-3")
    shutil.copytree(whole, tmp_path / "trained on")
    assert main([*plain, str(tmp_path / "trained on")]) == 0  # finishes what the search has stopped
    assert main([*plain, str(tmp_path / "plain")]) == 0
    for rate in ("9e-3", "1e-3"):
        expected = run_files(tmp_path / "plain" / "runs" / f"rate={rate}")
        assert len(expected["metrics.jsonl"]) == 64
        assert run_files(tmp_path / "trained on" / "runs" / f"rate={rate}") == expected
    assert before == run_files(tmp_path / "plain" / "runs" / "rate=9e-3")


def wait_for(path: Path) -> None:
    deadline = time.monotonic() + 600
    while not path.exists() or not path.stat().st_size:
        assert time.monotonic() < deadline, f"{path} never came"
        time.sleep(0.02)


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (["--vary", "steps=10,20", "--search", "asha"], "--vary steps with --search: .*different amounts of text"),
        (["--vary", "decay=0.2,0.4", "--search", "asha"], "--vary decay with --search: .*comes late"),
        (["--vary", "gate.target=0.1,0.3", "--search", "asha"], "--vary gate.target with --search: .*comes late"),
        (["--vary", "rate=1e-3", "--search", "asha"], "at least two variants"),
        (["--vary", "rate=1e-3,2e-3", "--eta", "2"], "add --search asha"),
        (["--vary", "rate=1e-3,2e-3", "--first-stop", "1/4"], "add --search asha"),
    ],
)
def test_what_no_search_can_do_is_refused(
    words: list[str], tmp_path: Path, capfd: pytest.CaptureFixture[str], more: list[str], message: str
) -> None:
    data = words[words.index("--data") + 1]
    assert main(["sweep", "04", *more, "--scale", "demo", "--data", data, "--out", str(tmp_path / "sweep")]) == 2
    error = capfd.readouterr().err
    assert re.search(message, error.replace("\n", " ")), error
    assert not (tmp_path / "sweep").exists()
