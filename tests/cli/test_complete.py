"""`cpu1 complete` as people and programs call it."""

import io
import json
import signal
import subprocess
import sys

import pytest
from helpers.bare import WITHOUT_LAB

import cpu1
from cpu1.cli import main


def test_completions_with_probabilities(capsys):
    assert main(["complete", "Once upon a ti", "-n", "3"]) == 0
    wanted = cpu1.load().complete("Once upon a ti", 3)
    assert capsys.readouterr().out.splitlines() == [f'{word.probability:.3f} "{word.text}"' for word in wanted]


def test_json_and_standard_input(capsys, monkeypatch):
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO("Die Größe ti".encode())))
    assert main(["complete", "-", "--json", "-n", "2", "--max-bytes", "3"]) == 0
    found = json.loads(capsys.readouterr().out)
    wanted = cpu1.load().complete("Die Größe ti", 2, 3)
    assert [(each["text"], each["probability"]) for each in found] == [(word.text, word.probability) for word in wanted]


def test_it_learns_where_it_is_asked_to(capsys):
    text = "Xyloquark ate. Xyloquark slept. Xyloquark woke. Xyloquark ate. Xyl"
    assert main(["complete", text, "--json", "--learn", "-n", "1"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found[0]["probability"] == cpu1.load(learn=True).complete(text, 1)[0].probability
    assert found[0]["probability"] != cpu1.load().complete(text, 1)[0].probability


def test_a_program_talks_to_it_through_pipes():
    """Without the lab. Each answer comes before the next request is sent; the end of the input ends it."""
    words = [sys.executable, "-c", WITHOUT_LAB, "complete", "--stdin", "-n", "2"]
    with subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        read = []
        for line in (b'{"id": 1, "prefix": "Die Gr\xc3\xb6"}', b"?", b'{"id": 3, "prefix": "Die Gr\xc3\xb6\xc3\x9f"}'):
            process.stdin.write(line + b"\n")
            process.stdin.flush()
            answer = json.loads(process.stdout.readline())
            read.append(answer.get("read"))
        out, err = process.communicate(timeout=60)
    assert read == [8, None, 2]
    assert (process.returncode, out, err) == (0, b"", b"")


@pytest.mark.parametrize(("how", "status"), [("interrupt", 130), ("nobody reads", 0)])
def test_it_ends_without_a_traceback(how, status):
    words = [sys.executable, "-m", "cpu1", "complete", "--stdin", "-n", "1"]
    with subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        process.stdin.write(b'{"prefix": "a"}\n')
        process.stdin.flush()
        assert process.stdout.readline()
        if how == "interrupt":
            process.send_signal(signal.SIGINT)
        else:
            process.stdout.close()
            process.stdin.write(b'{"prefix": "a"}\n')
            process.stdin.flush()
        assert process.wait(60) == status
        assert process.stderr.read() == b""


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ([], "give a text to complete, - to read it from standard input, or --stdin for requests"),
        (["a", "--stdin"], "leave out the PREFIX"),
        (["a", "-n", "65"], "-n is 65; give a whole number from 1 to 64"),
        (["a", "--max-bytes", "300"], "--max-bytes is 300; give a whole number from 1 to 256"),
        (["--stdin", "-n", "100"], "n is 100"),
        (["a", "--longest", "3"], "longest is 3"),
        (["a", "-m", "nothing.cpu1"], "nothing.cpu1: no such file"),
    ],
)
def test_mistakes_are_one_line(words, message, capsys):
    assert main(["complete", *words]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith("cpu1: ")
    assert err.count("\n") == 1
    assert message in err
