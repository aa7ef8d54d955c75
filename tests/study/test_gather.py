"""A study as one file: it holds all that the folder's JSON holds, and is read the same."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
from helpers.study_folders import make_run, make_study, write

from cpu1.cli import main
from cpu1.errors import UserError
from cpu1.report.comparison import compare_runs
from cpu1.report.report import build_report
from cpu1.runs.studies import gather, load_runs, load_study


@pytest.fixture
def study(tmp_path: Path) -> Path:
    folder = make_study(tmp_path / "study", seeds=2)
    failed = make_run(folder, "07", seed=2)
    (failed / "result.json").unlink()
    write(failed / "error.json", {"error": "stalled"})
    write(folder / "04-demo-r1-s0" / "language.json", {"blimp": {"accuracy": 0.5}})
    return folder


def test_a_gathered_study_is_the_same_study(study: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "results" / "study.jsonl"
    assert main(["gather", str(study), "-o", str(file)]) == 0
    assert "33 runs" in capsys.readouterr().out
    ours, theirs = load_study(file), load_study(study)
    assert [replace(run, path=Path()) for run in ours.runs] == [replace(run, path=Path()) for run in theirs.runs]
    assert ours.about == theirs.about
    assert build_report(file) == build_report(study)
    assert compare_runs(file, "04", "03") == compare_runs(study, "04", "03")
    line = next(json.loads(line) for line in file.read_text().splitlines() if '"04"' in line)
    result = json.loads((study / "04-demo-r1-s0" / "result.json").read_text())
    assert line["result"] == result
    assert main(["compare", str(file), "04", "03"]) == 0
    assert main(["report", str(file)]) == 2
    assert "name a folder for the report with --out" in capsys.readouterr().err
    assert main(["report", str(file), "--out", str(tmp_path / "report")]) == 0
    assert (tmp_path / "report" / "report.md").is_file()


def test_gathering_a_gathered_study_changes_nothing(study: Path, tmp_path: Path) -> None:
    gather(study, tmp_path / "one.jsonl")
    gather(tmp_path / "one.jsonl", tmp_path / "two.jsonl")
    assert (tmp_path / "one.jsonl").read_bytes() == (tmp_path / "two.jsonl").read_bytes()


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda lines: [lines[0], lines[1][:-1]], r"line 2: not readable as JSON"),
        (lambda lines: [lines[0], lines[1].replace('"bpb":', '"bbb":', 1)], r'line 2: "result.*bbb" is unknown'),
        (
            lambda lines: [lines[0], lines[1].replace('"nats":[', '"nats":[1000.0,', 1)],
            r"line 2: \"bytes\" and \"nats\"",
        ),
        (lambda lines: ["{}", lines[1]], r'line 1: "format" is missing'),
    ],
)
def test_a_damaged_line_is_named(study: Path, tmp_path: Path, damage, message: str) -> None:
    file = tmp_path / "study.jsonl"
    gather(study, file)
    file.write_text("\n".join(damage(file.read_text().splitlines())))
    with pytest.raises(UserError, match=message):
        load_runs(file)


def test_an_empty_study_is_not_gathered(tmp_path: Path) -> None:
    (tmp_path / "study").mkdir()
    with pytest.raises(UserError, match="holds no run yet"):
        gather(tmp_path / "study", tmp_path / "study.jsonl")
    assert not (tmp_path / "study.jsonl").exists()
    with pytest.raises(UserError, match="no such study"):
        gather(tmp_path / "none", tmp_path / "study.jsonl")
