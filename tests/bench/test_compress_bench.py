"""The bench that compares our archives with those of other compressors."""

import json
from pathlib import Path

import compress as bench
import pytest

from cpu1.runtime.default import default_model


def run(monkeypatch: pytest.MonkeyPatch, *words: str) -> int:
    monkeypatch.setattr("sys.argv", ["compress.py", str(default_model()), *words, "--repeats", "1"])
    return bench.main()


@pytest.fixture
def text(tmp_path: Path) -> Path:
    file = tmp_path / "notes.txt"
    file.write_text("The lighthouse keeper counted the ships that passed.\n" * 20)
    return file


def test_json_has_figures_by_file_and_method(monkeypatch, capsys, text):
    assert run(monkeypatch, str(text), "--max-bytes", "600", "--json") == 0
    methods = json.loads(capsys.readouterr().out)["notes.txt"]
    assert methods["plain"] == {"bytes": 600, "bits_per_byte": 8.0}
    assert {"cpu1", "cpu1 --frozen", "xz -9e", "zstd -19", "zstd --ultra -22", "scored", "learning"} <= set(methods)
    for name in "cpu1", "xz -9e":
        found = methods[name]
        assert found["bits_per_byte"] == pytest.approx(8 * found["bytes"] / 600)
        assert min(found["mb_per_s"], found["mb_per_s_back"]) > 0
    assert methods["learning"]["bits_per_byte"] < methods["scored"]["bits_per_byte"]


def test_the_page_counts_the_model_once(monkeypatch, capsys, text):
    assert run(monkeypatch, str(text), "--max-bytes", "600") == 0
    last = capsys.readouterr().out.splitlines()[-1]
    share = float(last.split(": ")[1].split()[0])
    assert share > 8 * default_model().stat().st_size / 600


def test_archives_alone_are_without_scores(monkeypatch, capsys, text):
    assert run(monkeypatch, str(text), "--max-bytes", "600", "--archives", "--json") == 0
    methods = json.loads(capsys.readouterr().out)["notes.txt"]
    assert not {"cpu1 --frozen", "scored", "learning"} & set(methods)
    assert run(monkeypatch, str(text), "--max-bytes", "600", "--archives") == 0
    assert f"{methods['cpu1']['bytes']:,}" in capsys.readouterr().out


def test_bad_input_is_one_line(monkeypatch, capsys, tmp_path, text):
    empty = tmp_path / "empty.txt"
    empty.touch()
    for words, message in [((str(empty),), "empty"), ((str(text), str(text)), "two files called notes.txt")]:
        assert run(monkeypatch, *words, "--max-bytes", "200") == 2
        found = capsys.readouterr().err
        assert message in found
        assert found.count("\n") == 1
