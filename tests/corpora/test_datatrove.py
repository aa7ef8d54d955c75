"""Blocks in a pipeline of datatrove."""

import json
from pathlib import Path
from pydoc_data.topics import topics

import pytest

import cpu1
from cpu1.errors import UserError

pytest.importorskip("datatrove", reason="needs cpu1[datatrove]")
pytest.importorskip("orjson", reason="datatrove's writers need it")
MODEL = Path(__file__).parents[2] / "fuzz" / "corpus" / "packed" / "18.cpu1"
TEXTS = [text[:200] for text in sorted(topics.values(), key=len)[-20:]]


def test_documents_are_filtered_by_bits_per_byte(tmp_path):
    from datatrove.data import Document
    from datatrove.executor import LocalPipelineExecutor
    from datatrove.pipeline.writers import JsonlWriter

    from cpu1.corpora.datatrove import BitsPerByteFilter

    model = cpu1.load(MODEL)
    wanted = [model.score(text.encode()).mean() for text in TEXTS]
    most = sorted(wanted)[11]
    documents = [Document(text=text, id=str(i)) for i, text in enumerate(TEXTS)]
    dropped = JsonlWriter(str(tmp_path / "dropped"), compression=None)
    step = BitsPerByteFilter(most=float(most), model=MODEL, exclusion_writer=dropped, batch_size=8)
    kept = JsonlWriter(str(tmp_path / "kept"), compression=None)
    LocalPipelineExecutor([documents, step, kept], logging_dir=str(tmp_path / "logs")).run()
    rows = read(tmp_path / "kept")
    assert {int(row["id"]) for row in rows} == {i for i, bits in enumerate(wanted) if bits <= most}
    assert len(rows) == 12
    for row in rows:
        assert row["metadata"]["bits_per_byte"] == pytest.approx(wanted[int(row["id"])])
    assert {row["metadata"]["filter_reason"] for row in read(tmp_path / "dropped")} == {"unlikely"}


def read(folder):
    return [json.loads(line) for path in sorted(folder.iterdir()) for line in path.read_text().splitlines()]


def test_statistics(tmp_path):
    pytest.importorskip("tldextract", reason="datatrove's statistics need it")
    from datatrove.data import Document

    from cpu1.corpora.datatrove import BitsPerByteStats

    step = BitsPerByteStats(str(tmp_path), MODEL, groups_to_compute=["summary", "histogram"])
    done = list(step.run(Document(text=text, id=str(i)) for i, text in enumerate(TEXTS)))
    summary = json.loads((tmp_path / "summary" / "bits_per_byte" / "00000.json").read_text())["summary"]
    assert summary["n"] == len(TEXTS)
    assert summary["mean"] == pytest.approx(sum(doc.metadata["bits_per_byte"] for doc in done) / len(TEXTS))


def test_a_filter_that_keeps_nothing_is_refused():
    from cpu1.corpora.datatrove import BitsPerByteFilter

    with pytest.raises(UserError, match="no document would be kept"):
        BitsPerByteFilter(most=1.0, least=2.0, model=MODEL)
