"""A study's runs on other texts, and two runs against each other."""

import json
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pytest
from helpers.study_folders import make_run, write
from helpers.text import write_text

from cpu1.cli import main
from cpu1.data.corpus import prepare
from cpu1.errors import UserError
from cpu1.evaluation.statistics import difference
from cpu1.report.comparison import compare_runs
from cpu1.report.render.markdown import markdown
from cpu1.report.report import build_report
from cpu1.runs.studies import load_runs
from cpu1.training.job import Job, train


def add_text(run: Path, name: str, nats: list[float], sizes: tuple[int, ...] = (400, 800, 200)) -> None:
    """Gives a made-up run another text of so many nats a byte in each document."""
    totals = [n * size for n, size in zip(nats, sizes, strict=True)]
    corpus = {"name": name, "sha256": "0" * 64, "split": "all", "documents": 3, "bytes": sum(sizes), "context": 1024}
    bpb = sum(totals) / sum(sizes) / np.log(2)
    documents = {"bytes": list(sizes), "nats": totals}
    path = run / "held-out.json"
    known = json.loads(path.read_text()) if path.exists() else {}
    write(path, known | {name: {"corpus": corpus, "bpb": bpb, "documents": documents}})


@pytest.fixture
def study(tmp_path: Path) -> Path:
    """Runs 03 and 04 with two seeds, all on one other text, seed 0 of 04 on a second as well."""
    for seed in range(2):
        add_text(make_run(tmp_path, "03", seed), "news", [1.5, 1.4 + seed / 50, 1.6])
        add_text(make_run(tmp_path, "04", seed), "news", [1.5, 1.5 + seed / 50, 1.7])
    add_text(tmp_path / "04-demo-r1-s0", "law", [1.0, 1.1, 1.2])
    return tmp_path


def test_two_runs_are_compared_on_each_text_that_both_read(study: Path) -> None:
    own, news = compare_runs(study, "04", "03")
    assert (own.text, news.text, news.seeds) == ("", "news", (2, 2))
    folders = load_runs(study)
    one, other = ([f.held_out["news"].documents.nats_D for f in folders if f.key.run == run] for run in ("04", "03"))
    expected = difference(one, other, [400, 800, 200])
    assert asdict(news.difference) == asdict(expected)
    assert news.bpb[0] - news.bpb[1] == pytest.approx(expected.value)
    assert expected.low is not None
    assert expected.low < (0.1 * 800 + 0.1 * 200) / 1400 / np.log(2) < (expected.high or 0)


def test_one_seed_is_compared_with_the_same_seed_of_the_other(study: Path) -> None:
    for seed in range(1, 4):
        add_text(make_run(study, "05", seed), "news", [1.3, 1.3, 1.3])
    _, news = compare_runs(study, "05", "04")
    assert (news.seeds, news.difference.seeds) == ((1, 1), False)
    shared = (0.2 * 400 + 0.22 * 800 + 0.4 * 200) / 1400 / np.log(2)  # seed 1 of run 04, less 1.3 nats
    assert news.difference.value == pytest.approx(-shared)
    assert news.bpb[1] - news.bpb[0] == pytest.approx(shared)


def test_the_report_shows_texts_that_all_seeds_read(study: Path) -> None:
    report = build_report(study)
    by_run = {row.run: row.figures for row in report.rows}
    assert by_run["04"]
    assert list(by_run["04"].held_out) == ["news"]
    text = markdown(report)
    assert "news: BPB, 95%" in text
    assert "law" not in text


def test_texts_that_do_not_pair_are_refused(study: Path) -> None:
    path = study / "03-demo-r1-s0" / "held-out.json"
    add_text(study / "03-demo-r1-s0", "news", [1, 1, 1], sizes=(400, 800, 201))
    with pytest.raises(UserError, match="different documents of news"):
        compare_runs(study, "04", "03")
    value = json.loads(path.read_text())
    value["news"]["bpb"] = 9.0
    write(path, value)
    with pytest.raises(UserError, match=r"held-out\.json: its documents give"):
        load_runs(study)
    path.unlink()
    with pytest.raises(UserError, match="both 04 and 07"):
        compare_runs(study, "04", "07")


def test_a_trained_run_on_another_text(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    own = write_text(tmp_path)
    other = own.with_name("other.txt")
    other.write_bytes(own.read_bytes()[:50_000])
    study = tmp_path / "study"
    job = Job("03", study / "03-demo-r1-s0", "demo", data=str(own), overrides=(("steps", 3),), eval_bytes=2048)
    train(job)
    words = ["held-out", str(study), "--text", f"other={other}", "--max-bytes", "4k"]
    assert main(words) == 0
    assert "1 scored" in capsys.readouterr().out
    found = json.loads((study / "03-demo-r1-s0" / "held-out.json").read_text())["other"]
    assert found["corpus"]["sha256"] == prepare(str(other)).sha256
    assert sum(found["documents"]["bytes"]) == found["corpus"]["bytes"]
    assert "other: BPB" in (study / "report.md").read_text()
    assert main(words) == 0
    assert "0 scored" in capsys.readouterr().out
    assert main(["held-out", str(tmp_path / "none"), "--text", f"other={other}"]) == 2
    assert main(["compare", str(study), "03", "04"]) == 2
