"""`cpu1 messages`: files, lines and records of JSON, both ways, and training from a sample."""

import io
import json
import subprocess
import sys
from pathlib import Path

import pytest
from helpers.bare import WITHOUT_LAB
from helpers.pages import ROOT

from cpu1.cli import main
from cpu1.messages import Codec, from_text
from cpu1.runtime import engine

pytestmark = pytest.mark.skipif(not engine.available(), reason="installed without the native engine")
SAMPLE = ROOT / "examples" / "messages.txt"
MESSAGES = b"Where are you?\n\nAt the pass, fog\r\n\xff\xfe\na\tb"


@pytest.fixture
def stdin(monkeypatch):
    def give(data: bytes) -> None:
        monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(data)))

    return give


def run(capfdbinary, *words: str) -> tuple[int, bytes, bytes]:
    status = main(["messages", *words])
    sys.stdout.flush()
    out, err = capfdbinary.readouterr()
    return status, out, err


def test_lines(capfdbinary, stdin):
    stdin(MESSAGES)
    status, codes, _ = run(capfdbinary, "encode", "--lines")
    assert status == 0
    assert [len(line) > 0 for line in codes.split(b"\n")[:-1]] == [True, False, True, True, True]
    stdin(codes)
    assert run(capfdbinary, "decode", "--lines")[:2] == (0, MESSAGES + b"\n")


def test_records(capfdbinary, stdin):
    records = [{"text": "two\nlines"}, {"base64": "//4="}, {"text": ""}, {"text": "\ud800"}, {"no": 1}, 7]
    stdin("".join(json.dumps(record) + "\n" for record in records).encode() + b"nothing\n")
    status, out, _ = run(capfdbinary, "encode", "--jsonl")
    found = [json.loads(line) for line in out.splitlines()]
    assert status == 1
    assert [set(each) for each in found] == [{"code"}] * 4 + [{"error"}] * 3
    assert Codec().decode(from_text(found[0]["code"])) == b"two\nlines"
    stdin(b"".join(out.splitlines(True)[:4]) + b'{"code": "!"}\n')
    status, out, _ = run(capfdbinary, "decode", "--jsonl")
    assert status == 1
    back = [json.loads(line) for line in out.splitlines()]
    assert back[:3] == records[:3]
    assert back[3] == {"base64": "7aCA"}
    assert "damaged" in back[4]["error"]


def test_a_file(capfdbinary, tmp_path):
    (tmp_path / "a.txt").write_bytes(MESSAGES)
    for more in ([], ["--text"], ["--check"], ["--sample", str(SAMPLE), "--plain"]):
        code, back = str(tmp_path / "code"), str(tmp_path / "back")
        assert run(capfdbinary, "encode", str(tmp_path / "a.txt"), "-o", code, *more)[0] == 0
        assert run(capfdbinary, "decode", code, "-o", back, *more)[0] == 0
        assert Path(back).read_bytes() == MESSAGES


def test_an_adapter_is_made_without_torch_and_used(capfdbinary, tmp_path, stdin):
    adapter = str(tmp_path / "mine.cpa")
    words = [sys.executable, "-c", WITHOUT_LAB, "messages", "train", str(SAMPLE), "-o", adapter]
    printed = subprocess.run(words, check=True, capture_output=True, text=True).stdout.splitlines()
    assert printed[0].startswith("2 messages held out: ")
    name = printed[1].rpartition(" ")[2]
    stdin(b"Battery at 60%, solar charging\n")
    codec = ("--adapter", adapter, "--codec", name)
    status, code, _ = run(capfdbinary, "encode", "--lines", *codec)
    assert (status, len(code) < 9) == (0, True)
    stdin(code)
    assert run(capfdbinary, "decode", "--lines", *codec)[1] == b"Battery at 60%, solar charging\n"
    stdin(code)
    assert b"is codec" in run(capfdbinary, "decode", "--lines", "--codec", name)[2]


def test_a_model_trains_from_nothing(capfdbinary, tmp_path):
    out, sample = tmp_path / "mine.cpu1", tmp_path / "many.txt"
    lines = SAMPLE.read_text().splitlines()
    sample.write_text("".join(f"{line}, day {day}\n" for day in range(20) for line in lines))
    how = ("--scratch", "--minutes", "0.02", "--threads", "1", "--quiet")
    status, printed, _ = run(capfdbinary, "train", str(sample), "-o", str(out), *how)
    assert status == 0
    assert printed.decode().splitlines()[-1] == f"{out}: {out.stat().st_size:,} bytes, codec {Codec(out).name}"
    assert [path.name for path in tmp_path.iterdir() if ".run" in path.name] == []
    assert Codec(out).sample == ()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["train", str(SAMPLE), "-o", "x.txt"], "x.txt: must end in .cpa (an adapter) or .cpu1 (a model)"),
        (["train", str(SAMPLE), "-o", "x.cpa", "--minutes", "3"], "are for a model; name it with -o FILE.cpu1"),
        (["train", "/dev/null", "-o", "x.cpa"], "0 different messages; a codec needs at least 20"),
        (["train", "missing.txt", "-o", "x.cpu1"], "missing.txt: not readable"),
        (["encode", "missing.txt"], "missing.txt: not readable"),
        (["encode", "--lines", "missing.txt"], "missing.txt: not readable"),
        (["encode", "--lines", "--jsonl"], "exclude each other"),
        (["encode", "--lines", "-o", "x"], "results go to standard output"),
    ],
)
def test_refusals_are_one_line(words, message, capfdbinary, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    status, out, err = run(capfdbinary, *words)
    assert (status, out, err.count(b"\n")) == (2, b"", 1)
    assert message in err.decode()
    assert list(tmp_path.iterdir()) == []


def test_nothing_is_written_over_what_is_read(capfdbinary, tmp_path):
    (tmp_path / "a.cpu1").write_bytes(b"where")
    same = str(tmp_path / "a.cpu1")
    for words in (["encode", same, "-o", same], ["train", same, "-o", same]):
        status, _, err = run(capfdbinary, *words)
        assert (status, err.count(b"\n")) == (2, 1)
        assert (tmp_path / "a.cpu1").read_bytes() == b"where"


def test_a_damaged_line_is_named(capfdbinary, stdin):
    stdin(b"!!\n!\n")
    status, _, err = run(capfdbinary, "decode", "--lines")
    assert status == 2
    assert b"line " in err
    assert err.count(b"\n") == 1
