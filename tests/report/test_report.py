"""The report: its rows, its three forms, and the original's figures beside ours."""

import html
import io
import json
import math
import re
import shutil
from html.parser import HTMLParser
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest
from helpers.study_folders import BASELINES, ORDER, make_run, make_study, write
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from cpu1.errors import UserError
from cpu1.report import original
from cpu1.report.columns import AS_ORIGINAL, BESIDE, DIFFERENCE, INTERVAL, SEEDS, groups, tables
from cpu1.report.render.labels import nearest_free, overlap, spread
from cpu1.report.render.markdown import escape, fenced
from cpu1.report.render.plots import LETTERS, drawings
from cpu1.report.render.terminal import print_report
from cpu1.report.report import StudyReport, build_report, to_json
from cpu1.report.write import write_report


@pytest.fixture(scope="module")
def ladder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A whole ladder of one seed, its report written."""
    study = make_study(tmp_path_factory.mktemp("ladder"))
    write_report(study, order=ORDER)
    return study


def row_of(report: StudyReport, run: str, round: str = "r1"):  # type: ignore[no-untyped-def]
    return next(row for row in report.rows if (row.run, row.round) == (run, round))


# ------------------------------------------------------------------------------------ the original


def test_the_original_has_all_rows_in_three_rounds() -> None:
    rows = original.rows()
    assert [sum(row.table == name for row in rows) for name in ("chain", "small", "round 2", "round 3")] == [
        12,
        4,
        6,
        12,
    ]
    assert {row.run for row in rows} == set(ORDER)
    assert {row.run for row in rows if row.nan} == {"01", "02", "02a", "08"}
    best = original.find("06", "r3")
    assert best is not None
    assert (best.bpb, best.step, best.bytes_per_s) == (3.1008, 4237, 28)
    assert original.find("07", "r3") is None


@pytest.mark.parametrize("row", original.rows(), ids=lambda row: row.name)
def test_the_original_is_transcribed_right(row: original.OriginalRow) -> None:
    """Its columns follow from one another, so that a wrong digit shows."""
    if row.ram_fp32_mb is not None:
        assert row.ram_fp32_mb == pytest.approx(4 * row.params_m, abs=0.25)
    if row.val_loss is not None:
        assert row.ppl == pytest.approx(math.exp(row.val_loss), abs=0.005 + 6e-5 * row.ppl)  # type: ignore[operator]
    if row.bpb is not None and row.val_loss is not None:
        assert row.level == "byte"
        assert row.bpb == pytest.approx(row.val_loss / math.log(2), abs=1.3e-4)
    if row.delta_uniform is not None and row.val_loss is not None:
        assert row.delta_uniform == pytest.approx(row.val_loss - math.log(256), abs=1.1e-4)
    if row.patches_per_s is not None:
        assert row.bytes_per_s == pytest.approx(row.patches_per_s * (4 if row.level == "byte" else 1), abs=0.8)
    if row.round == "r2":
        first = original.find(row.run, "r1")
        assert first is not None
        assert (row.loss_r1, row.ppl_r1, row.params_m) == (first.val_loss, first.ppl, first.params_m)
        assert row.delta_loss == pytest.approx(row.val_loss - first.val_loss, abs=1.1e-4)  # type: ignore[operator]


# -------------------------------------------------------------------------------------------- rows


def test_the_report_has_a_row_for_every_run_in_ladder_order(ladder: Path) -> None:
    report = build_report(ladder, ORDER)
    assert tuple(row.run for row in report.rows) == ORDER
    assert report.sections[0].missing == ()
    assert [table.heading.split(": ")[1] for table in tables(report)] == ["the ablation chain", "small runs"]
    assert [row.run for row in tables(report)[1].rows] == ["13", "14", "15", "16"]
    assert {row.family for row in report.rows} == {"full precision", "ternary", "small"}
    assert [baseline.name for baseline in report.baselines] == list(BASELINES)


def test_figures_are_means_over_seeds_and_differences_have_intervals(tmp_path: Path) -> None:
    for seed in range(3):
        make_run(tmp_path, "03", seed)
        make_run(tmp_path, "04", seed, nonfinite_steps=seed)
    report = build_report(tmp_path, ORDER)
    row = row_of(report, "04")
    results = [json.loads((tmp_path / f"04-demo-r1-s{s}" / "result.json").read_text()) for s in range(3)]
    assert row.seeds == (0, 1, 2)
    assert row.figures.bpb == pytest.approx(np.mean([result["bpb"] for result in results]))
    assert row.figures.ppl == pytest.approx(math.exp(row.figures.val_loss))
    assert row.figures.nonfinite_steps == 3
    parent = row_of(report, "03")
    against = row.figures.difference
    assert against.value == pytest.approx(row.figures.bpb - parent.figures.bpb)
    assert against.low < against.value < against.high
    assert against.seeds
    assert "*" not in DIFFERENCE.cell(row) + INTERVAL.cell(row)
    assert DIFFERENCE.cell(parent) == "no 02 here"


def test_one_seed_is_marked(ladder: Path) -> None:
    row = row_of(build_report(ladder, ORDER), "04")
    assert DIFFERENCE.cell(row).endswith("*)")
    assert INTERVAL.cell(row).endswith("*")
    assert "not that another seed" in (ladder / "report.md").read_text()


def test_nothing_that_went_wrong_is_dropped(tmp_path: Path) -> None:
    make_run(tmp_path, "02")
    failed, unfinished, half = (make_run(tmp_path, run) for run in ("03", "04", "05"))
    half_failed = make_run(tmp_path, "05", seed=1)
    for folder in (failed, unfinished, half_failed):
        (folder / "result.json").unlink()
    write(failed / "error.json", {"error": "41% of the steps\nwere <not> finite"})
    write(half_failed / "error.json", {"error": "stalled"})
    assert half.exists()
    report = write_report(tmp_path, order=ORDER)
    assert [(row.run, row.figures is None) for row in report.rows] == [
        ("02", False),
        ("03", True),
        ("04", True),
        ("05", False),
    ]
    assert row_of(report, "04").troubles[0].text == "at step 800 of 800"
    assert SEEDS.cell(row_of(report, "05")) == "1 (failed: 1)"
    rows = json.loads((tmp_path / "report.json").read_text())
    assert [row.get("state") for row in rows] == ["done", "failed", "unfinished", "done", None]
    assert rows[1]["bpb"] is None
    assert rows[1]["troubles"][0]["text"].startswith("41%")
    assert rows[4] == {
        "kind": "missing",
        "scale": "demo",
        "round": "r1",
        "runs": [run for run in ORDER if run not in ("02", "03", "04", "05")],
    }
    page = (tmp_path / "report.html").read_text()
    assert "41% of the steps were &lt;not&gt; finite" in page
    assert "Never started (demo, r1): 01, 02a, 05b" in page
    shown = terminal(report)
    assert "41% of the steps were <not> finite" in shown


def test_a_run_that_crashed_before_its_settings_has_a_row(tmp_path: Path) -> None:
    folder = tmp_path / "09-demo-r1-s0"
    folder.mkdir()
    write(folder / "error.json", {"error": "no module named cpu1"})
    report = write_report(tmp_path, order=ORDER)
    assert row_of(report, "09").troubles[0].state == "failed"


def test_rounds_are_sections_and_round_two_names_round_one(tmp_path: Path) -> None:
    for round in ("r1", "r2", "r3", "custom"):
        make_run(tmp_path, "04", scale="nano", round=round)
    make_run(tmp_path, "04", scale="demo")
    report = write_report(tmp_path, order=ORDER)
    names = [(section.scale, section.round) for section in report.sections]
    assert names == [("demo", "r1"), ("nano", "custom"), ("nano", "r1"), ("nano", "r2"), ("nano", "r3")]
    first, second = row_of(report, "04", "r1"), row_of(report, "04", "r2")
    assert second.figures.loss_r1 == first.figures.val_loss
    assert second.figures.delta_loss == pytest.approx(0)
    assert second.original.name == "run_04_r2"
    assert row_of(report, "04", "custom").original is None
    assert "Loss r1" in (tmp_path / "report.md").read_text()


def test_json_has_the_results_keys_and_the_originals_figures(ladder: Path) -> None:
    rows = json.loads((ladder / "report.json").read_text())
    runs = {row["run"]: row for row in rows if row["kind"] == "run"}
    wanted = {"run", "scale", "round", "seeds", "params", "units_seen", "bytes_seen", "corpus", "val_loss", "ppl"}
    wanted |= {"bpb", "bpb_interval", "delta_uniform", "parent", "nonfinite_steps", "generation", "difference"}
    assert wanted <= set(runs["07"])
    assert runs["06"]["original"]["bpb"] == 8.0157
    assert runs["04"]["difference"]["seeds"] is False
    assert runs["01"]["difference"] is None
    assert [row["name"] for row in rows if row["kind"] == "baseline"] == list(BASELINES)
    assert rows == json.loads(json.dumps(to_json(build_report(ladder, ORDER))))


# --------------------------------------------------------------------------------------- bad input


def test_an_empty_study_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no run yet"):
        build_report(tmp_path, ORDER)
    with pytest.raises(UserError, match="no such study"):
        build_report(tmp_path / "nothing", ORDER)


def test_runs_on_different_documents_are_refused(tmp_path: Path) -> None:
    make_run(tmp_path, "03")
    folder = make_run(tmp_path, "04", bpb=1 / math.log(2))
    write(folder / "documents.json", {"bytes": [10, 20], "nats": [10.0, 20.0]})
    with pytest.raises(UserError, match=r"04-demo.*different documents"):
        build_report(tmp_path, ORDER)


def test_seeds_of_different_models_are_refused(tmp_path: Path) -> None:
    make_run(tmp_path, "03")
    make_run(tmp_path, "03", seed=1, params=7)
    with pytest.raises(UserError, match='"params"'):
        build_report(tmp_path, ORDER)


def test_damaged_baselines_are_named(tmp_path: Path) -> None:
    make_run(tmp_path, "03")
    write(tmp_path / "baselines.json", {"zstd -19": {"note": ""}})
    with pytest.raises(UserError, match=r'baselines\.json: "zstd -19\.bpb" is missing'):
        build_report(tmp_path, ORDER)


def test_the_fastest_seed_says_how_fast_a_run_is(tmp_path: Path) -> None:
    for seed, units in enumerate((420.0, 455.0, 210.0)):  # the last beside other work
        write(
            make_run(tmp_path, "04", seed) / "speed.json",
            {"patches_per_s": units, "bytes_per_s": 4 * units, "unit": "patch"},
        )
    figures = row_of(write_report(tmp_path, order=ORDER), "04").figures
    assert (figures.patches_per_s, figures.bytes_per_s) == (455.0, 1820.0)


def test_baselines_off_the_scale_fit_under_the_figure(tmp_path: Path) -> None:
    make_run(tmp_path, "04")
    write(tmp_path / "baselines.json", {f"a baseline called {i}": {"bpb": 90.0 + i} for i in range(4)})
    (by_run, *_) = drawings(write_report(tmp_path, order=ORDER).sections[0], build_report(tmp_path, ORDER).baselines)
    names = [line for line in re.findall(r">([^<>]+)</text>", by_run.svg) if "baseline" in line or "scale" in line]
    assert len(names) > 1
    assert all(len(line) <= LETTERS for line in names)


def test_a_run_without_speed_is_named_under_the_figure(tmp_path: Path) -> None:
    make_run(tmp_path, "03")
    (make_run(tmp_path, "04") / "speed.json").unlink()
    report = write_report(tmp_path, order=ORDER)
    assert row_of(report, "04").figures.bytes_per_s is None
    assert "Without a speed: 04." in (tmp_path / "report.html").read_text()


# --------------------------------------------------------------------------------- the three forms


def test_the_same_folders_give_the_same_bytes(ladder: Path, tmp_path: Path) -> None:
    copy = tmp_path / "elsewhere"
    shutil.copytree(ladder, copy, ignore=shutil.ignore_patterns("report.*"))
    write_report(copy, tmp_path / "out", ORDER)
    for name in ("report.json", "report.md", "report.html"):
        assert (tmp_path / "out" / name).read_bytes() == (ladder / name).read_bytes()


class Balance(HTMLParser):
    """Collects tags that are left open or closed wrongly, ids, and what the page refers to."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.wrong: list[str] = []
        self.ids: list[str] = []
        self.references: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag != "meta":
            self.open.append(tag)
        self.handle_startendtag(tag, attrs)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        for name, value in attrs:
            if name == "id":
                self.ids.append(value or "")
            if name in ("src", "href", "xlink:href", "data", "action"):
                self.references.append(value or "")

    def handle_endtag(self, tag: str) -> None:
        if not self.open or self.open.pop() != tag:
            self.wrong.append(tag)


def test_the_page_is_well_formed_and_stands_alone(ladder: Path) -> None:
    text = (ladder / "report.html").read_text()
    page = Balance()
    page.feed(text)
    assert (page.open, page.wrong) == ([], [])
    assert len(page.ids) == len(set(page.ids))
    assert {reference.removeprefix("#") for reference in page.references} <= set(page.ids)
    assert set(re.findall(r"url\(#([^)]*)\)", text)) <= set(page.ids)
    assert "<script" not in text
    assert "@import" not in text
    assert set(re.findall(r'[a-z]+://[^"\s<]*', text)) <= {"http://www.w3.org/2000/svg", "http://www.w3.org/1999/xlink"}


def test_the_page_holds_every_figure_column_and_sample(ladder: Path) -> None:
    text = (ladder / "report.html").read_text()
    drawings = re.findall(r"<svg.*?</svg>", text, flags=re.S)
    assert len(drawings) == 5
    for drawing in drawings:
        words = "".join(ElementTree.fromstring(drawing).itertext())
        absent = ("01", "13", "02a") if "place in the window" in words else ()  # token-level, and off the scale
        assert all(run in words for run in ORDER if run not in absent)
        assert "#01" not in drawing
    for column in (*AS_ORIGINAL, *BESIDE):
        assert f">{html.escape(column.heading)}</th>" in text
    assert text.count("return &lt;b&gt;self&lt;/b&gt; &amp; other") == len(ORDER)
    assert "<b>self" not in text
    assert "another text and machine" in text
    assert "reconstructions" in text
    assert "8.0157" in text
    assert "prefers-color-scheme: dark" in text


def test_hostile_text_stays_text(tmp_path: Path) -> None:
    folder = make_run(tmp_path, "03", title="a|b <i>`*[x](y)")
    result = json.loads((folder / "result.json").read_text())
    result["generation"]["sample"] = "\x1b[31m</pre><script>alert(1)</script>\n````\nend\x00\ud800"
    write(folder / "result.json", result)
    report = write_report(tmp_path, order=ORDER)
    page, text = (tmp_path / "report.html").read_text(), (tmp_path / "report.md").read_text()
    assert "<script" not in page
    assert "\u241b[31m&lt;/pre&gt;" in page
    assert "a\\|b \\<i\\>\\`\\*\\[x\\](y)" in text
    assert "`````text" in text
    assert "\x1b" not in page + text + terminal(report)


def test_markdown_tables_are_rectangular(ladder: Path) -> None:
    blocks = re.findall(r"(?:^\|.*\|\n)+", (ladder / "report.md").read_text(), flags=re.M)
    assert len(blocks) == 7
    for block in blocks:
        assert len({len(re.findall(r"(?<!\\)\|", line)) for line in block.splitlines()}) == 1
    assert escape("a|b\nc") == "a\\|b c"
    assert fenced("``` x").startswith("````text\n")


def terminal(report: StudyReport, width: int = 120) -> str:
    text = io.StringIO()
    print_report(report, Console(file=text, width=width))
    return text.getvalue()


@pytest.mark.parametrize("width", [80, 120])
def test_the_terminal_table_fits(ladder: Path, width: int) -> None:
    report = build_report(ladder, ORDER)
    shown = terminal(report, width)
    assert max(len(line) for line in shown.splitlines()) <= width
    assert "…" not in shown
    for row in report.rows:
        assert f"{row.figures.bpb:.4f}" in shown  # type: ignore[union-attr]
        assert DIFFERENCE.cell(row) in shown


def test_one_run_alone_makes_a_report(tmp_path: Path) -> None:
    make_run(tmp_path, "16")
    report = write_report(tmp_path, order=ORDER)
    assert len(re.findall("<svg", (tmp_path / "report.html").read_text())) == 5
    assert list(groups(tables(report)[0])) == [
        "As the original lays it out",
        "What the original lacked",
        "The original: another text and machine",
    ]


# ------------------------------------------------------------------------------------------ labels


@given(st.lists(st.floats(0, 100), min_size=1, max_size=16))
def test_labels_in_a_column_keep_apart_and_in_order(wanted: list[float]) -> None:
    places = spread(wanted, 5.0, 0.0, 100.0)
    order = sorted(range(len(wanted)), key=lambda i: wanted[i])
    gaps = np.diff([places[i] for i in order])
    assert (gaps >= 5 - 1e-9).all()
    assert min(places) >= -1e-9
    assert max(places) <= 100 + 1e-9


def test_labels_that_have_room_stay_where_they_are_wanted() -> None:
    assert spread([10.0, 50.0, 30.0], 5.0, 0.0, 100.0) == [10.0, 50.0, 30.0]


def test_labels_around_points_do_not_overlap() -> None:
    random = np.random.default_rng(0)
    points = random.normal(150, 12, (16, 2))
    taken = [(x - 4, y - 4, x + 4, y + 4) for x, y in points]
    for x, y in points:
        *_, box = nearest_free(x, y, 14, 8, taken, (0, 0, 300, 300))
        assert all(overlap(box, other) == 0 for other in taken)
        taken.append(box)
