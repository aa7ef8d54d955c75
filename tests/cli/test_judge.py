"""`cpu1 judge` as people call it: files, folders, JSON lines, odd input, an interrupt."""

import io
import json
import os
import signal
import subprocess
import sys
import time
import warnings

import pytest

from cpu1.cli import judging, main

CLEAN = "The old man sat down by the fire and began to tell us the story of his long voyage to the islands. " * 3
DAMAGED = CLEAN.replace("began to tell us", "bcgan tq tcll vs", 1)


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name, text in [("clean.txt", CLEAN), ("damaged.txt", DAMAGED), ("empty.txt", "")]:
        (tmp_path / name).write_text(text)
    (tmp_path / "image.png").write_bytes(b"\x89PNG\0\0" * 20)
    return tmp_path


def run(capsys, *words, status=0):
    """Standard output and standard error of a command, which shows no traceback."""
    with warnings.catch_warnings():
        assert main(["judge", *words]) == status
    out, err = capsys.readouterr()
    assert "Traceback" not in err
    return out, err


def stdin(monkeypatch, data: bytes):
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(data)))


def test_a_text_has_a_line_and_its_worst_passages(folder, capsys):
    out, _ = run(capsys, "damaged.txt")
    head, first, *_ = out.splitlines()
    assert head.startswith("damaged.txt: ")
    assert "bits per byte, percentile " in head
    assert "[[" in first
    assert "bcgan tq tcll vs" in first
    assert run(capsys, "damaged.txt", "--worst", "0")[0].splitlines() == [head]


def test_a_folder_is_judged_file_by_file(folder, capsys):
    out, err = run(capsys, ".", "--json")
    found = {row["name"]: row for row in map(json.loads, out.splitlines())}
    assert list(found) == ["clean.txt", "damaged.txt"]
    assert found["clean.txt"]["bits_per_byte"] < found["damaged.txt"]["bits_per_byte"]
    assert found["clean.txt"]["bytes"] == len(CLEAN)
    assert "image.png: looks binary, and is passed over" in err
    assert "empty.txt: empty, nothing to judge" in err


def test_jobs_change_nothing(folder, capsys):
    for number in range(6):
        (folder / f"{number}.txt").write_text(CLEAN[number:] * (6 - number))
    assert run(capsys, ".", "--jobs", "1")[0] == run(capsys, ".", "--jobs", "4")[0]


def test_documents_of_one_file_are_numbered(folder, capsys):
    (folder / "two.txt").write_text(f"{CLEAN}\n\f\n{DAMAGED}\n")
    out, _ = run(capsys, "two.txt", "--json")
    assert [json.loads(line)["name"] for line in out.splitlines()] == ["two.txt#1", "two.txt#2"]


def test_a_binary_file_that_is_named_is_judged(folder, capsys):
    out, err = run(capsys, "image.png")
    assert "image.png: " in out
    assert "looks binary" in err


def test_standard_input(folder, capsys, monkeypatch):
    stdin(monkeypatch, CLEAN.encode())
    assert run(capsys)[0].startswith("-: ")


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("empty.txt",), "empty.txt: no text, nothing to judge"),
        (("nothing.txt",), "no such file"),
        (("--better", "clean.txt"), "--better needs two texts, and there are 1"),
        (("--better", "clean.txt", "empty.txt"), "empty.txt: empty"),
        (("--better", "clean.txt", "nothing.txt"), "nothing.txt: not readable"),
        (("--jsonl", "clean.txt", "damaged.txt"), "--jsonl reads one file, and there are 2"),
        (("--jsonl", "."), "--jsonl reads one file"),
        (("--jsonl", "--better", "a", "b"), "choose one"),
        (("-", "-"), "standard input can be read only once"),
        (("clean.txt", "-o", "out.json"), "-o is for --calibrate"),
        (("clean.txt", "--calibration", "clean.txt"), "clean.txt: no calibration"),
        (("clean.txt", "-m", "clean.txt"), "clean.txt"),
        (("--calibrate", "clean.txt", "-o", "out.json"), "a calibration needs 40"),
    ],
)
def test_bad_input_is_one_line(folder, capsys, words, message):
    out, err = run(capsys, *words, status=2)
    last = err.splitlines()[-1]
    assert last.startswith("cpu1: ")
    assert message in last
    assert not out
    assert not (folder / "out.json").exists()


def test_the_better_of_two_files(folder, capsys):
    out, _ = run(capsys, "--better", "damaged.txt", "clean.txt")
    assert out.splitlines()[-1].startswith("better: clean.txt, by ")
    found = json.loads(run(capsys, "--better", "clean.txt", "damaged.txt", "--json")[0])
    assert found["better"] == "clean.txt"
    assert [each["name"] for each in found["readings"]] == ["clean.txt", "damaged.txt"]
    assert run(capsys, "--better", "clean.txt", "clean.txt")[0].splitlines()[-1] == "they are alike"


def test_the_better_of_two_shows_as_many_passages_as_asked_for(folder, capsys):
    for most in 0, 1:
        found = json.loads(run(capsys, "--better", "clean.txt", "damaged.txt", "--json", "--worst", str(most))[0])
        assert [len(each["passages"]) for each in found["readings"]] == [0, most]


@pytest.mark.parametrize(
    ("value", "shown"),
    [(0, "0"), (0.02, "0.1"), (0.5, "0.5"), (1, "1"), (50.4, "50"), (99.2, "99.2"), (99.97, "99.9"), (100, "100")],
)
def test_percentiles_near_the_ends_are_not_the_ends(value, shown):
    assert judging._percent(value) == shown


def test_json_lines_come_back_with_a_judgement(folder, capsys, monkeypatch):
    stdin(monkeypatch, b'{"id": 1, "body": "%s"}\n\n{"id": 2, "body": "hi"}' % CLEAN.encode())
    out, err = run(capsys, "--jsonl", "-", "--field", "body")
    one, two = map(json.loads, out.splitlines())
    assert (one["id"], one["body"], one["judge"]["bytes"]) == (1, CLEAN, len(CLEAN))
    assert (two["id"], two["judge"]["verdict"]) == (2, "too short")
    assert not err


def test_odd_lines_say_what_is_wrong(folder, capsys):
    lines = [
        b'{"text": "a line that is as it should be"}',
        b"not JSON",
        b"[1]",
        b"\xff\xfe",
        b'{"other": 1}',
        b'{"text": 5}',
        b'{"text": null}',
        b'{"text": ""}',
        b'{"text": "\\ud800"}',
        b"[" * 100_000,
        b'{"text": "' + b"x" * 1_100_000 + b'"}',
        b'{"text": "the last line has no end"}',
    ]
    (folder / "odd.jsonl").write_bytes(b"\n".join(lines))
    out, err = run(capsys, "--jsonl", "odd.jsonl", status=1)
    found = [json.loads(line)["judge"] for line in out.splitlines()]
    errors = [each.get("error", "") for each in found]
    wanted = ["", "not JSON", "a list", "not JSON", "no field 'text'", "a int", "a NoneType", "", "", "not JSON",
              "1,100,000 bytes", ""]  # fmt: skip
    assert len(found) == len(wanted)
    for error, part in zip(errors, wanted, strict=True):
        assert (part in error) if part else not error
    assert found[7]["verdict"] == "empty"
    assert "8 lines could not be judged; the first: line 2" in err
    assert err.count("\n") == 1


def test_calibrating_a_model(folder, capsys):
    days = (f"On day {day} the keeper of the light counted {day * 37 % 101} ships at sea." for day in range(50))
    (folder / "text.txt").write_text("\n\f\n".join(days))
    out, _ = run(capsys, "--calibrate", "text.txt", "-o", "own.json")
    assert out == "own.json: 50 texts of 50 to 50 bytes\n"
    row = json.loads(run(capsys, "clean.txt", "--json", "--calibration", "own.json")[0])
    assert 0 <= row["percentile"] <= 100


def test_an_interrupt_ends_it_and_keeps_what_was_printed(folder):
    (folder / "a.txt").write_text(CLEAN)
    (folder / "b.txt").write_text(CLEAN * 3000)
    command = [sys.executable, "-m", "cpu1", "judge", "a.txt", "b.txt", "--jobs", "2"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, cwd=folder, env=os.environ)
    assert process.stdout is not None
    assert process.stdout.readline().startswith(b"a.txt: ")
    time.sleep(0.2)
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 130
    assert b"Traceback" not in err
