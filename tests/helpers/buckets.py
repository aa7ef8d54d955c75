"""Servers that answer like S3 and like Google Cloud Storage, with a bucket for the run folders of a test."""

import socket
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from subprocess import DEVNULL, Popen
from typing import Any

import pytest

BUCKET = "cpu1-test"


@contextmanager
def bucket(kind: str) -> Iterator[str]:
    """The address of a new bucket, for this process and its children. `kind`: s3 or gs. Skips without its packages."""
    for package in PACKAGES[kind]:
        pytest.importorskip(package)
    fsspec: Any = pytest.importorskip("fsspec")
    patch = pytest.MonkeyPatch()
    port = _free_port()
    with Popen([sys.executable, "-c", SERVERS[kind], str(port), BUCKET], stdout=DEVNULL, stderr=DEVNULL) as server:
        try:
            for name, value in SETTINGS[kind].items():
                patch.setenv(name, value.format(url=f"http://127.0.0.1:{port}"))
            _wait(port, server)
            fsspec.get_filesystem_class(kind).clear_instance_cache()  # which knows the server before
            if kind == "s3":
                fsspec.filesystem("s3").mkdir(BUCKET)
            yield f"{kind}://{BUCKET}"
        finally:
            server.kill()
            patch.undo()


SERVERS = {
    "s3": "import sys; from moto.server import main; main(['-p', sys.argv[1]])",
    "gs": "import sys; from gcp_storage_emulator.server import create_server as make;"
    "make('127.0.0.1', int(sys.argv[1]), True, default_bucket=sys.argv[2]).run()",
}
PACKAGES = {"s3": ("s3fs", "moto.server"), "gs": ("gcsfs", "gcp_storage_emulator")}
SETTINGS = {
    "s3": {
        "AWS_ENDPOINT_URL": "{url}",
        "AWS_ACCESS_KEY_ID": "anyone",
        "AWS_SECRET_ACCESS_KEY": "anything",
        "AWS_DEFAULT_REGION": "us-east-1",
    },
    "gs": {"STORAGE_EMULATOR_HOST": "{url}"},
}


def _free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])


def _wait(port: int, server: Popen[bytes]) -> None:
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline and server.poll() is None:
        with socket.socket() as there:
            if there.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.1)
    raise TimeoutError(f"no server at port {port} (exit status {server.poll()})")
