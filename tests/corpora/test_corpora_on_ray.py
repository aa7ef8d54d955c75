"""Files and datasets scored on a Ray cluster: the figures are the model's, and rows stay what they were."""

import io
import json
import tarfile
from pathlib import Path
from pydoc_data.topics import topics

import pytest

import cpu1
from cpu1.cli import main

ray = pytest.importorskip("ray", reason="needs cpu1[ray]")
pyarrow = pytest.importorskip("pyarrow")
MODEL = Path(__file__).parents[2] / "fuzz" / "corpus" / "packed" / "18.cpu1"
LONG = sorted(topics.values(), key=len)[-50:]
TEXTS = [text[start : start + 300] for start in (0, 300, 600) for text in LONG]


@pytest.fixture(scope="module")
def cluster():
    patch = pytest.MonkeyPatch()
    patch.setenv("RAY_USAGE_STATS_ENABLED", "0")
    ray.init(address="local", num_cpus=2, include_dashboard=False, log_to_driver=False)
    yield
    ray.shutdown()
    patch.undo()


@pytest.fixture(scope="module")
def wanted():
    model = cpu1.load(MODEL)
    return [model.score(text.encode()).mean() for text in TEXTS]


def score(*words):
    return main(["score", "-m", str(MODEL), "--on", "ray", *map(str, words)])


@pytest.mark.slow
def test_json_lines(cluster, wanted, tmp_path, capsys):
    source, out = tmp_path / "texts.jsonl", tmp_path / "scored.jsonl"
    rows = [{"text": text, "date": "2020-01-02", "number": i, "nested": [{"a": 1.5}]} for i, text in enumerate(TEXTS)]
    lines = [json.dumps(row) for row in rows]
    source.write_text("\n".join([*lines[:5], "no JSON", json.dumps({"other": 1}), *lines[5:]]) + "\n")
    assert score(source, "--out", out) == 1
    assert "152 texts, 2 without a text" in capsys.readouterr().out
    found = [json.loads(line) for line in out.read_text().splitlines()]
    assert "not JSON" in found[5]["error"]
    assert found[6]["other"] == 1
    assert "no field" in found[6]["error"]
    good = found[:5] + found[7:]
    assert [{name: row[name] for name in rows[0]} for row in good] == rows
    assert [row["bits_per_byte"] for row in good] == pytest.approx(wanted)
    assert [row["bytes"] for row in good] == [len(text.encode()) for text in TEXTS]
    assert {row["bucket"] for row in good} == {"head", "middle", "tail"}
    assert max(row["bits_per_byte"] for row in good if row["bucket"] == "head") < min(
        row["bits_per_byte"] for row in good if row["bucket"] == "tail"
    )
    assert score(source, "--json") == 0
    printed = capsys.readouterr()
    assert [json.loads(line) for line in printed.out.splitlines()] == found
    assert not printed.err


@pytest.mark.slow
def test_parquet(cluster, wanted, tmp_path, capsys):
    import pyarrow.parquet

    source, out = tmp_path / "texts.parquet", tmp_path / "scored.parquet"
    table = pyarrow.table({"page": [*TEXTS, None, ""], "number": list(range(len(TEXTS) + 2))})
    pyarrow.parquet.write_table(table, source, row_group_size=20)
    assert score(source, "--field", "page", "--buckets", "50,90", "--out", out) == 1
    found = pyarrow.parquet.read_table(out)
    assert found.select(["page", "number"]) == table
    assert found["bits_per_byte"].to_pylist()[:-2] == pytest.approx(wanted)
    assert found["bits_per_byte"].to_pylist()[-2:] == [None, None]
    assert found["bucket"].to_pylist().count("head") == 75
    assert found["bucket"].to_pylist().count("tail") == 15
    assert score(out, "--field", "page", "--out", tmp_path / "again.parquet") == 2
    assert "'bits_per_byte' is there already" in capsys.readouterr().err
    assert score(source, "--out", tmp_path / "again.parquet") == 2
    assert "no column 'text'; there are: page, number" in capsys.readouterr().err
    assert not (tmp_path / "again.parquet").exists()


@pytest.mark.slow
def test_a_dataset_is_scored_where_it_is_asked_for(cluster, wanted):
    from cpu1.corpora.on_ray import score as score_dataset

    dataset = ray.data.from_items([{"text": text, "number": i} for i, text in enumerate(TEXTS)])
    rows = sorted(score_dataset(dataset, model=MODEL, shares=None).take_all(), key=lambda row: row["number"])
    assert [row["bits_per_byte"] for row in rows] == pytest.approx(wanted)
    assert "bucket" not in rows[0]


@pytest.mark.slow
def test_datasets_of_other_makers_are_scored(cluster, wanted, tmp_path):
    """Hugging Face's, and the archives of WebDataset."""
    from cpu1.corpora.on_ray import score as score_dataset

    datasets = pytest.importorskip("datasets")
    pytest.importorskip("webdataset")
    with tarfile.open(tmp_path / "shard.tar", "w") as shard:
        for number, text in enumerate(TEXTS):
            member = tarfile.TarInfo(f"{number:03}.txt")
            member.size = len(text.encode())
            shard.addfile(member, io.BytesIO(text.encode()))
    theirs = datasets.Dataset.from_dict({"text": TEXTS})
    for dataset, field in (
        (ray.data.from_huggingface(theirs), "text"),
        (ray.data.read_webdataset(str(tmp_path / "shard.tar")), "txt"),
    ):
        rows = score_dataset(dataset, field, MODEL, shares=None).take_all()
        figures = {row[field]: row["bits_per_byte"] for row in rows}
        assert [figures[text] for text in TEXTS] == pytest.approx(wanted)


@pytest.mark.parametrize(
    ("words", "error"),
    [
        (["a.txt", "b.txt"], "add --on ray"),
        (["a.txt", "--out", "b.jsonl"], "--out is for --on ray"),
        (["a.jsonl", "--on", "ray"], "either --out FILE, or --json"),
        (["a.jsonl", "--on", "ray", "--json", "--learn"], "--learn and --adapter"),
        (["a.jsonl", "--on", "slurm", "--json"], "a.jsonl"),
    ],
)
def test_words_that_do_not_fit_are_refused(tmp_path, monkeypatch, capsys, words, error):
    monkeypatch.chdir(tmp_path)
    assert main(["score", "-m", str(MODEL), *words]) == 2
    assert error in capsys.readouterr().err


@pytest.mark.parametrize("name", ["a.txt", "a.json"])
def test_other_files_are_refused(tmp_path, capsys, name):
    (tmp_path / name).write_text("text")
    assert score(tmp_path / name, "--json") == 2
    assert "neither .parquet nor .jsonl" in capsys.readouterr().err
    (tmp_path / "a.jsonl").write_text("{}")
    assert score(tmp_path / "a.jsonl", "--out", tmp_path / "a.parquet") == 2
    assert "name a file that ends in .jsonl" in capsys.readouterr().err
