"""The fuzzer of the server on its corpus, and on some damage; docs/fuzzing.md has the long runs."""

import random
from pathlib import Path

import pytest

from cpu1.runtime import engine

pytest.importorskip("uvicorn", reason="the server needs cpu1[server]")
import connections

pytestmark = pytest.mark.skipif(not engine.available(), reason="installed without the native engine")

FILES = sorted(connections.HOLDS.iterdir())


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_requests_of_the_corpus_are_answered(path: Path) -> None:
    status = b"404" if path.name == "unfinished" else b"200"  # whose answer comes before its body
    assert connections.answer(path.read_bytes()).startswith(b"HTTP/1.1 " + status)
    connections.ask(path.read_bytes())


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_damaged_requests_get_an_error_of_the_api_or_an_answer(path: Path) -> None:
    data, rng = path.read_bytes(), random.Random(path.name)
    for how in (0, 1, 2, 3):
        connections.ask(bytes([how]) + data[1 : rng.randrange(len(data))])
        for _ in range(10):
            connections.ask(bytes([how]) + connections.mutated(data[1:], rng))


def test_a_failure_of_the_server_is_a_finding(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("cpu1.server.routes.openapi", None)
    with pytest.raises(AssertionError, match="500"):
        connections.ask((connections.HOLDS / "page").read_bytes())
