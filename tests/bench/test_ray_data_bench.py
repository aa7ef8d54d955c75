"""The bench of Ray Data: the cluster's figures are those of one process, and every ratio is in the JSON."""

import json
from pathlib import Path

import pytest
import ray_data as bench
from helpers.text import write_text

from cpu1.errors import UserError
from cpu1.runtime import engine


def test_texts_are_pieces_of_the_source(tmp_path: Path) -> None:
    source = write_text(tmp_path)
    found = bench.texts(str(source), 20_000)
    assert len(found) == 20
    assert all(len(text.encode()) <= bench.LENGTH and text in source.read_text() for text in found)
    with pytest.raises(UserError, match="too little text"):
        bench.texts(str(source), 10**7)


@pytest.mark.slow
@pytest.mark.skipif(not engine.available(), reason="installed without the native engine")
def test_json_has_every_figure(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("ray", reason="needs cpu1[ray]")
    words = ["--data", str(write_text(tmp_path)), "--bytes", "20k", "--cores", "1", "--rounds", "1", "--json"]
    monkeypatch.setattr("sys.argv", ["ray_data.py", *words])
    assert bench.main() == 0
    found = json.loads(capsys.readouterr().out)
    assert found["texts"] == 20
    assert min(found[each] for each in ("ray_bytes_per_s", "alone_bytes_per_s", "speed_up", "start_s")) > 0
    assert len(found["rounds"]) == 1
