"""The command line as a user meets it: real runs, and bad input without tracebacks."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from helpers.bare import WITHOUT_LAB
from helpers.text import write_text

from cpu1.cli import main

TINY = ["--set", "steps=3", "--set", "batch=2", "--set", "window=64", "--eval-bytes", "2000"]


@pytest.fixture(scope="module")
def space(tmp_path_factory):
    """A folder with a text and a trained run, and a cache of its own."""
    folder = tmp_path_factory.mktemp("cli")
    os.environ["CPU1_CACHE"] = str(folder / "cache")
    write_text(folder)
    words = ["train", "07", "--scale", "demo", "--data", str(folder / "topics.txt"), "--out", str(folder / "07")]
    assert main([*words, *TINY, "--quiet", "--threads", "1"]) == 0
    yield folder
    del os.environ["CPU1_CACHE"]


def test_train_prints_its_figures_and_a_second_call_finds_it_done(space, capsys):
    words = ["train", "run_04", "--scale", "demo", "--data", str(space / "topics.txt"), "--out", str(space / "04")]
    assert main([*words, *TINY, "--threads", "1"]) == 0
    printed = capsys.readouterr().out
    assert "run_04" in printed
    assert "bits per byte" in printed
    assert main([*words, *TINY, "--threads", "1"]) == 0
    assert "already done" in capsys.readouterr().out


def test_eval_prints_a_table_or_json(space, capsys):
    assert main(["eval", str(space / "07"), "--max-bytes", "2000"]) == 0
    printed = capsys.readouterr().out
    for line in ("run_07", "gate hard", "order-2 bytes", "zstd -19", "xz -9e", "PPL"):
        assert line in printed
    assert main(["eval", str(space / "07"), "--max-bytes", "2000", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert 0 < found["bpb"] < 9
    assert found["corpus"]["context"] == 64


def test_generate_is_the_same_for_a_seed_and_greedy_for_temperature_zero(space, capsys):
    outputs = []
    for words in (["--seed", "1"], ["--seed", "1"], ["--seed", "2"], ["--temperature", "0"], ["--temperature", "0"]):
        assert main(["generate", "The ", "-m", str(space / "07"), "--max-bytes", "60", *words]) == 0
        outputs.append(capsys.readouterr().out)
    assert outputs[0] == outputs[1] != outputs[2]
    assert outputs[3] == outputs[4]


def test_generate_stops_and_echoes(space, capsys):
    assert main(["generate", "The ", "-m", str(space / "07"), "--max-bytes", "60", "--temperature", "0"]) == 0
    whole = capsys.readouterr().out.rstrip("\n")
    stop = whole[5:8]
    words = ["--max-bytes", "60", "--temperature", "0", "--stop", stop, "--echo"]
    assert main(["generate", "The ", "-m", str(space / "07"), *words]) == 0
    assert capsys.readouterr().out == "The " + whole[: whole.index(stop)] + "\n"


def test_card_is_rebuilt_byte_for_byte(space, capsys):
    study = space / "study"
    words = ["study", "--runs", "02,14", "--scale", "demo", "--data", str(space / "topics.txt"), "--out", str(study)]
    assert main([*words, *TINY, "--bytes", "1k"]) == 0
    capsys.readouterr()
    files = [study / name for name in ("report.md", "report.json", "report.html")]
    before = [path.read_bytes() for path in files]
    assert main(["report", str(study)]) == 0
    assert [path.read_bytes() for path in files] == before
    rows = json.loads((study / "report.json").read_text())
    assert {row["run"] for row in rows if row["kind"] == "run"} == {"02", "14"}
    assert {row["kind"] for row in rows} >= {"run", "baseline"}
    assert (study / "14-demo-custom-s0" / "speed.json").exists()


def test_data_describes_a_text(space, capsys):
    assert main(["data", str(space / "topics.txt")]) == 0
    assert "train" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["train", "99"], "no run '99'"),
        (["train", "14", "--out", "x"], "--teacher"),
        (["train", "07", "--data", "nowhere.txt", "--out", "x"], "nowhere.txt"),
        (["train", "07", "--round", "custom", "--out", "x"], "--bytes or --minutes"),
        (["train", "07", "--set", "colour=3", "--out", "x"], "colour"),
        (["eval", "nowhere"], "nowhere: no such run folder"),
        (["generate", "x", "-m", "nowhere"], "nowhere: no such run folder"),
        (["report", "nowhere"], "nowhere"),
        (["study", "--runs", "07,x"], "no run 'x'"),
        (["study", "--runs", "03", "--tune", "04:rate=1e-3"], "run 04 is not in this study"),
        (["study", "--runs", "03", "--tune", "03:colour=3"], "not a setting"),
        (["study", "--data", "-"], "standard input"),
        (["study", "--equal-bytes", "--bytes", "1M"], "--equal-bytes"),
        (["data", "nowhere"], "nowhere"),
    ],
)
def test_bad_input_is_one_clear_line(words, message, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert main(words) == 2
    error = capsys.readouterr().err
    assert error.startswith("cpu1: ")
    assert message in error


@pytest.mark.parametrize(
    "words", [["--bytes", "lots"], ["--bytes", "-3"], ["--seed", "-1"], ["--seed", "x"], ["--threads", "0"]]
)
def test_arguments_are_checked(words, capsys):
    with pytest.raises(SystemExit) as stopped:
        main(["train", "07", *words])
    assert stopped.value.code == 2
    error = capsys.readouterr().err
    assert "usage: cpu1 train [RUN]" in error
    assert f"argument {words[0]}: '{words[1]}' is not a " in error


def test_a_run_is_tuned_in_so_many_words(capsys):
    with pytest.raises(SystemExit):
        main(["study", "--tune", "rate=3e-3"])
    assert "RUN[,RUN]:NAME=VALUE" in capsys.readouterr().err


@pytest.mark.parametrize("damage", [b"", b"garbage", b"\xff" * 64])
def test_damaged_weights_are_named(space, tmp_path, capsys, damage):
    folder = tmp_path / "damaged"
    folder.mkdir()
    for name in ("recipe.json", "settings.json"):
        (folder / name).write_bytes((space / "07" / name).read_bytes())
    (folder / "model.safetensors").write_bytes(damage)
    assert main(["generate", "x", "-m", str(folder)]) == 2
    assert "model.safetensors: damaged" in capsys.readouterr().err


def test_ctrl_c_saves_and_the_same_command_goes_on(space, tmp_path):
    command = [sys.executable, "-m", "cpu1", "train", "04", "--scale", "demo", "--data", str(space / "topics.txt"),
               "--out", str(tmp_path / "run"), "--threads", "1", "--set", "steps=400", "--set", "batch=2",
               "--set", "window=64", "--eval-bytes", "2000", "--quiet"]  # fmt: skip
    running = subprocess.Popen(command, stderr=subprocess.PIPE)
    wait_for(lambda: (tmp_path / "run" / "metrics.jsonl").exists() and steps(tmp_path / "run") > 10)
    running.send_signal(signal.SIGINT)
    _, error = running.communicate(timeout=60)
    assert running.returncode == 130
    assert b"run the same command again" in error
    assert b"Traceback" not in error
    reached = steps(tmp_path / "run")
    assert 10 < reached < 400
    assert subprocess.run(command, check=False).returncode == 0
    assert steps(tmp_path / "run") == 400


def steps(folder: Path) -> int:
    lines = (folder / "metrics.jsonl").read_text().splitlines()
    return json.loads(lines[-1])["step"] if lines else 0


def wait_for(condition, seconds: float = 60) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "waited too long"
        time.sleep(0.05)


def test_without_the_lab_a_verb_says_what_to_install(tmp_path):
    """The package itself imports with numpy and safetensors alone."""
    done = subprocess.run([sys.executable, "-c", WITHOUT_LAB, "ladder", "--params"], capture_output=True, check=False)
    assert done.returncode == 2
    assert b"pip install 'cpu1[lab]'" in done.stderr
    assert b"Traceback" not in done.stderr
