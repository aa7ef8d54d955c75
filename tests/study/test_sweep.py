"""Sweeps: every combination is trained once, nothing is lost, and the table says what the folders hold."""

import io
import json
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from helpers.text import write_text
from rich.console import Console

from cpu1.cli import main
from cpu1.cli.options import variation
from cpu1.errors import UserError
from cpu1.evaluation.statistics import difference
from cpu1.runs.result import Curve
from cpu1.study import runner
from cpu1.study.start import Request
from cpu1.study.sweep import Sweep, make_members, start
from cpu1.study.sweep_table import at, markdown
from cpu1.training.plan import Budget

# Makes a finished folder: a higher rate is better by 0.2 BPB, muon by another 0.1 and half as fast; 9 fails.
TRAINER = """
import json, os, pathlib, shutil, signal, sys, tempfile, time
sys.path.insert(0, os.environ["TESTS"])
from helpers import study_folders
run, words = sys.argv[1], [word for word in sys.argv[2:] if word != "--quiet"]
options = list(zip(words[::2], words[1::2]))
one, chosen = dict(options), dict(value.split("=") for name, value in options if name in ("--set", "--with"))
out = pathlib.Path(one["--out"])
with (out.parent.parent.parent / "calls.txt").open("a") as calls:
    calls.write(json.dumps([run, *words]) + "\\n")
chosen.setdefault("rate", "1e-3")
if chosen["rate"] == "9":
    (out / "error.json").write_text(json.dumps({"error": "stalled: at step 250"}))
    sys.exit(2)
if chosen["rate"] == "7" and not (out / "metrics.jsonl").exists():
    signal.signal(signal.SIGINT, lambda *_: sys.exit(130))
    (out / "metrics.jsonl").write_text(json.dumps({"step": 5}) + "\\n")
    time.sleep(60)
muon = chosen.get("optimizer") == "muon"
study_folders.BPB[run] -= 0.2 * (chosen["rate"] == "2e-3") + 0.1 * muon
seconds = [2.0, 4.0, 8.0] if muon else [1.0, 2.0, 4.0]
with tempfile.TemporaryDirectory() as place:
    made = study_folders.make_run(pathlib.Path(place), run, int(one["--seed"]), one["--scale"], one["--round"],
                                  curve={"bytes": [1, 2, 4], "seconds": seconds, "bpb": [4.0, 3.0, 2.0]})
    versions = {"cpu1": "1", "python": "3", "torch": "2"}
    machine = {"platform": "secret", "processor": "made up", "cores": 2, "threads": 1}
    (made / "env.json").write_text(json.dumps(versions | machine))
    for file in made.iterdir():
        shutil.copy(file, out / file.name)
"""


@pytest.fixture(scope="module")
def text(tmp_path_factory):
    folder = tmp_path_factory.mktemp("text")
    patch = pytest.MonkeyPatch()
    patch.setenv("CPU1_CACHE", str(folder / "cache"))
    yield write_text(folder)
    patch.undo()


@pytest.fixture
def sweep(tmp_path, text):
    request = Request(
        folder=tmp_path / "sweep", runs="04", seeds=2, scale="demo", round="r1", budget=None, equal_bytes=True,
        data=str(text), field="text", jobs=2, threads=1, device="cpu", overrides=(), changes=(), eval_bytes=2000,
    )  # fmt: skip
    return Sweep(request, {"rate": ("1e-3", "2e-3"), "optimizer": ("adamw", "muon")})


@pytest.fixture
def trainer(tmp_path, monkeypatch):
    """A training command that only pretends."""
    monkeypatch.setattr(runner, "TICK", 0.02)
    monkeypatch.setenv("TESTS", str(Path(__file__).parents[1]))
    script = tmp_path / "trainer.py"
    script.write_text(TRAINER)
    return [sys.executable, str(script)]


def run(sweep, command):
    """The exit status, what was printed, and the table."""
    printed = io.StringIO()
    status = start(sweep, Console(file=printed, width=300), command)
    return status, printed.getvalue(), json.loads((sweep.request.folder / "sweep.json").read_text())


def calls(sweep):
    return [json.loads(line) for line in (sweep.request.folder / "calls.txt").read_text().splitlines()]


def with_values(sweep, **vary):
    return replace(sweep, vary=vary)


def test_every_combination_is_trained_once_and_stands_in_the_table(sweep, trainer):
    status, printed, table = run(sweep, trainer)
    assert status == 0
    made = calls(sweep)
    assert len(made) == 8
    names = sorted(path.name for path in (sweep.request.folder / "runs").iterdir())
    assert names == [f"rate={rate},optimizer={name}" for rate in ("1e-3", "2e-3") for name in ("adamw", "muon")]
    assert len({call[call.index("--bytes") + 1] for call in made}) == 1  # the same text for all
    assert [row["values"] for row in table["rows"]] == [
        {"rate": rate, "optimizer": name} for rate in ("1e-3", "2e-3") for name in ("adamw", "muon")
    ]
    assert [row["seeds"] for row in table["rows"]] == [[0, 1]] * 4
    first, muon, fast, both = (row["bpb"] for row in table["rows"])
    assert (muon - first, fast - first, both - first) == pytest.approx((-0.1, -0.2, -0.3), abs=1e-9)
    assert table["rows"][0]["difference"] is None
    gap = table["rows"][2]["difference"]
    assert gap["value"] == pytest.approx(-0.2)
    assert gap["low"] <= gap["value"] <= gap["high"]
    assert gap["seeds"]
    assert table["machine"] == {"processor": "made up", "cores": 2, "threads": 1, "torch": "2"}
    assert table["corpus"]["name"] == "made up"
    assert "| 1e-3 | muon |" in printed
    assert (sweep.request.folder / "sweep.md").read_text() == markdown(table)
    assert run(sweep, trainer)[2] == table
    assert len(calls(sweep)) == 8  # nothing was trained again


def test_what_a_gate_deletes_and_gains_stands_in_the_table(sweep, trainer):
    table = run(replace(with_values(sweep, rate=("1e-3",)), request=replace(sweep.request, runs="04,07")), trainer)[2]
    plain, gated = table["rows"]
    assert plain["deleted"] is plain["soft_bpb"] is None
    assert gated["deleted"] == pytest.approx(0.29)
    assert gated["soft_bpb"] == pytest.approx(gated["bpb"] - 0.01)
    assert plain["generated_bytes_per_s"] > 0
    head, _, first, second = markdown(table).splitlines()[:4]
    assert head.endswith("| at equal time | file KB | generates KB/s | deleted | soft | seeds |")
    assert plain["file_bytes"] > 1000
    assert first.endswith("|  |  | 2 |")
    assert f"| 29.0% | {gated['soft_bpb']:.4f} | 2 |" in second
    assert "skipped" in markdown(table)
    older = [{name: row[name] for name in row if name not in ("deleted", "soft_bpb")} for row in table["rows"]]
    assert "deleted" not in markdown({**table, "rows": older})


def test_each_value_alone_beside_the_run_as_it_is(sweep, trainer):
    _, _, table = run(replace(sweep, alone=True), trainer)
    wanted = [{}, {"rate": "1e-3"}, {"rate": "2e-3"}, {"optimizer": "adamw"}, {"optimizer": "muon"}]
    assert [row["values"] for row in table["rows"]] == wanted
    assert [round(row["difference"]["value"], 2) if row["difference"] else None for row in table["rows"]] == [
        *(None, 0.0, -0.2, 0.0, -0.1)
    ]
    names = {path.name for path in (sweep.request.folder / "runs").iterdir()}
    assert names == {"plain", "rate=1e-3", "rate=2e-3", "optimizer=adamw", "optimizer=muon"}
    assert markdown(table).splitlines()[2].startswith("|  |  |")


def test_a_value_may_be_a_list(sweep, trainer):
    assert variation("tables.contexts=[3,4],[5]") == ("tables.contexts", ("[3,4]", "[5]"))
    assert variation("rate=1e-3,2e-3") == ("rate", ("1e-3", "2e-3"))
    request = replace(sweep.request, runs="17", seeds=1)
    table = run(replace(sweep, vary={"tables.contexts": ("[3,4]", "[5]")}, request=request), trainer)[2]
    assert [row["values"] for row in table["rows"]] == [{"tables.contexts": "[3,4]"}, {"tables.contexts": "[5]"}]
    given = {call[call.index("--with") + 1] for call in calls(sweep)}
    assert given == {"tables.contexts=[3,4]", "tables.contexts=[5]"}


def test_another_value_trains_only_what_is_new(sweep, trainer):
    run(with_values(sweep, rate=("1e-3",)), trainer)
    table = run(with_values(sweep, rate=("1e-3", "2e-3")), trainer)[2]
    assert [row["values"]["rate"] for row in table["rows"]] == ["1e-3", "2e-3"]
    assert [call[call.index("--set") + 1] for call in calls(sweep)] == ["rate=1e-3"] * 2 + ["rate=2e-3"] * 2


def test_settings_and_ingredients_are_told_apart(sweep, trainer):
    request = replace(sweep.request, runs="03,04", seeds=1, changes=(("layers", "2"),), overrides=(("clip", 0.5),))
    sweep = replace(
        sweep, request=request, vary={"rate": ("1e-3",), "ffn": ("SwiGLU", "ReLU2"), "head.hidden": ("64",)}
    )
    table = run(sweep, trainer)[2]
    words = " ".join(calls(sweep)[-1])
    assert "--set clip=0.5 --with layers=2 --set rate=1e-3 --with ffn=ReLU2 --with head.hidden=64" in words
    assert [(row["run"], row["values"]["ffn"]) for row in table["rows"]] == [
        ("03", "SwiGLU"), ("03", "ReLU2"), ("04", "SwiGLU"), ("04", "ReLU2"),
    ]  # fmt: skip
    assert [row["difference"] is None for row in table["rows"]] == [True, False, True, False]  # within each run
    assert not table["rows"][1]["difference"]["seeds"]
    assert r"\*" in markdown(table)
    assert markdown(table).startswith("| run | rate | ffn | head.hidden | params |")


def test_equal_time_reads_the_curve_when_the_fastest_had_finished(sweep, trainer):
    table = run(sweep, trainer)[2]
    assert table["equal_time_seconds"] == 4.0
    assert [row["bpb_at_equal_time"] for row in table["rows"]] == [2.0, 3.0, 2.0, 3.0]


def test_curves_are_read_linearly_in_log_time():
    curve = Curve(bytes=(1, 4), seconds=(1.0, 4.0), bpb=(4.0, 2.0))
    assert at(curve, 2.0) == pytest.approx(3.0)
    assert at(curve, 1.0) == 4.0
    assert at(curve, 9.0) == 2.0
    assert at(curve, 0.5) is None  # before its first point
    assert at(Curve(bytes=(1, 4), bpb=(4.0, 2.0)), 2.0) is None  # it has no times


def test_a_variant_that_fails_keeps_its_row_and_says_why(sweep, trainer):
    status, printed, table = run(with_values(sweep, rate=("1e-3", "9")), trainer)
    assert status == 1
    assert "rate=9 04-demo-r1-s0 failed: stalled" in printed
    failed = table["rows"][1]
    assert failed["bpb"] is failed["difference"] is failed["bpb_at_equal_time"] is None
    assert failed["troubles"] == [f"seed {seed} failed: stalled: at step 250" for seed in (0, 1)]
    assert "- rate=9: seed 0 failed: stalled" in markdown(table)
    assert table["rows"][0]["seeds"] == [0, 1]


DRIVER = """
import sys
from pathlib import Path
from cpu1.study.start import Request
from cpu1.study.sweep import Sweep, start
folder, text, *command = sys.argv[1:]
request = Request(folder=Path(folder), runs="04", seeds=1, scale="demo", round="r1", budget=None, equal_bytes=True,
                  data=text, field="text", jobs=1, threads=1, device="cpu", overrides=(), changes=(), eval_bytes=2000)
sys.exit(start(Sweep(request, {"rate": ("1e-3", "7")}), command=command))
"""


def test_an_interrupted_sweep_goes_on(tmp_path, text, trainer):
    slow = tmp_path / "sweep" / "runs" / "rate=7" / "04-demo-r1-s0"
    call = [sys.executable, "-c", DRIVER, str(tmp_path / "sweep"), str(text), *trainer]
    with subprocess.Popen(call, stdout=subprocess.PIPE, text=True) as driver:
        deadline = time.monotonic() + 60
        while not (slow / "metrics.jsonl").exists():
            assert time.monotonic() < deadline
            time.sleep(0.02)
        driver.send_signal(signal.SIGINT)
        printed = driver.communicate(timeout=60)[0]
    assert driver.returncode == 130
    assert "run the same command again" in printed
    rows = json.loads((tmp_path / "sweep" / "sweep.json").read_text())["rows"]
    assert rows[0]["seeds"] == [0]
    assert rows[1]["troubles"] == ["seed 0 unfinished: 0% of its steps"]
    assert subprocess.run(call, capture_output=True, timeout=60, check=False).returncode == 0
    rows = json.loads((tmp_path / "sweep" / "sweep.json").read_text())["rows"]
    assert [row["seeds"] for row in rows] == [[0], [0]]


@pytest.mark.parametrize(
    ("vary", "message"),
    [
        ({"colour": ("red",)}, "--vary colour: neither a setting nor a part of the recipe; known: steps"),
        ({"seed": ("1",)}, "--vary seed: neither"),
        ({"rate": ("a/b",)}, "'a/b' names a folder"),
        ({"rate": ("",)}, "'' names a folder"),
        ({"tables.contexts": ("[3,../x]",)}, "'\\[3,../x\\]' names a folder"),
        ({"rate": ("fast",)}, "--set rate=fast: not a setting, or not of its type"),
        ({"rate": ("1e-3", "-1")}, "rate is -1"),
        ({"optimizer": ("adamw", "sgd")}, "optimizer 'sgd' is not known; there are adamw, muon"),
        ({"ffn": ("SwiGLU", "MLGRU")}, "\"ffn\" is 'MLGRU', should be one of .*ReLU2, .*SwiGLU"),
        ({"head.hidden": ("12", "few")}, "\"head.hidden\" is 'few'"),
        ({"head.look_back": ("9",)}, "look_back 9 is more than 8"),
        ({"distill": ("ByteDistillation",)}, "run 04 learns from a teacher: give --teacher"),
        ({}, "needs something to vary"),
    ],
)
def test_what_does_not_fit_is_refused_before_anything_is_trained(sweep, vary, message):
    with pytest.raises(UserError, match=message):
        start(replace(sweep, vary=vary), Console(file=io.StringIO()), ["no-such-command"])
    assert not (sweep.request.folder / "runs").exists()


def test_other_options_in_the_same_folder_are_refused(sweep, trainer):
    run(with_values(sweep, rate=("1e-3",)), trainer)
    other = replace(sweep, request=replace(sweep.request, eval_bytes=4000))
    with pytest.raises(UserError, match="would not compare"):
        run(with_values(other, rate=("1e-3", "2e-3")), trainer)


@pytest.mark.parametrize("budget", [Budget(bytes=9000), Budget(minutes=0.5)], ids=["bytes", "minutes"])
def test_a_budget_of_its_own(sweep, trainer, budget):
    request = replace(sweep.request, round="custom", budget=budget, equal_bytes=False, seeds=1)
    status, _, table = run(replace(sweep, request=request, vary={"rate": ("1e-3",)}), trainer)
    assert (status, len(table["rows"])) == (0, 1)


def test_repeated_values_are_one_variant(sweep):
    members = make_members(with_values(sweep, rate=("1e-3", "2e-3", "1e-3")))
    assert [member.plan.name for member in members] == ["rate=1e-3", "rate=2e-3"]


def test_pairing_by_seed_takes_out_what_the_seeds_share():
    """Seeds move both sides alike: paired, the difference is as sure as the documents let it be."""
    random = np.random.default_rng(0)
    sizes = np.full(40, 1000)
    shared = random.normal(1400, 10, 40) + np.array([[-50], [0], [70]])
    child, parent = shared - 20 + random.normal(0, 0.5, (3, 40)), shared
    paired = difference(child, parent, sizes, paired=True)
    apart = difference(child, parent, sizes)
    assert paired.value == pytest.approx(apart.value)
    assert paired.high < 0 < apart.high
    assert paired.high - paired.low < 0.1 * (apart.high - apart.low)
    with pytest.raises(ValueError, match="no pairs"):
        difference(child[:2], parent, sizes, paired=True)


def test_the_command(tmp_path, text, capfd):
    words = ["sweep", "04", "--vary", "optimizer=muon", "--with", "ffn=ReLU2", "--seeds", "1", "--scale", "demo",
             "--data", str(text), "--out", str(tmp_path), "--jobs", "1", "--threads", "1", "--set", "steps=12",
             "--set", "batch=2", "--set", "window=64", "--eval-bytes", "2000"]  # fmt: skip
    assert main(words) == 0
    assert "| muon | 0.70 M |" in capfd.readouterr().out
    (row,) = json.loads((tmp_path / "sweep.json").read_text())["rows"]
    folder = tmp_path / "runs" / "optimizer=muon" / "04-demo-r1-s0"
    recipe, settings, result = (
        json.loads((folder / f"{name}.json").read_text()) for name in ("recipe", "settings", "result")
    )
    assert recipe["ffn"]["kind"] == "ReLU2"
    assert (settings["optimizer"], settings["steps"]) == ("muon", 12)
    assert row["bpb"] == result["bpb"]
    assert row["bpb_at_equal_time"] == result["curve"]["bpb"][-1]
    assert len(result["curve"]["seconds"]) == len(result["curve"]["bytes"])
    assert main([*words[:2], "--vary", "rate=1e-3", "--vary", "rate=2e-3"]) == 2
