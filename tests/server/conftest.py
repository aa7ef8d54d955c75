"""One server for all tests that leave it as it was."""

from collections.abc import Iterator

import pytest

pytest.importorskip("uvicorn", reason="the server needs cpu1[server]")
from helpers.serving import Served, served


@pytest.fixture(scope="session")
def server() -> Iterator[Served]:
    with served("--metrics", "--streams", "8", "--queue", "4") as found:
        yield found
