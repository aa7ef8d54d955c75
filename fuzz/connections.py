"""A fuzzer of the server: bytes that a client sends to a real `cpu1 serve`, over a connection. See docs/fuzzing.md.

    python fuzz/connections.py CORPUS... [OPTIONS OF LIBFUZZER]        needs atheris and cpu1[server]

Input: a byte of options (1: our side is closed after the request; 2: it is sent in two parts), and the request. What
comes back is an answer, or an error in the form of the API, and never the server's own failure. Then the connection
ends within seconds.
"""

import asyncio
import json
import random
import re
import socket
import sys
import threading
from contextlib import closing, suppress
from functools import cache

import counted

if __name__ == "__main__":
    counted.count()

import uvicorn
from readers import CORPUS, MODEL, changed

import cpu1
from cpu1.runtime import engine
from cpu1.server.run import configuration, listen
from cpu1.server.service import Service
from cpu1.server.settings import Settings

# Small, so that an input takes milliseconds.
SETTINGS = Settings(
    streams=4, queue=8, max_prompt=2048, max_body=16384, max_tokens=16, timeout=5, grace=0, head=0.02, body=0.02,
    stalled=5, idle=0, metrics=True, origins=("https://example.org",),
)  # fmt: skip
LONGEST = 20.0  # seconds until the server has to close a connection
HOLDS = CORPUS / "server"


@cache
def port() -> int:
    """Of a server in a thread of this process."""
    if not engine.available():
        sys.exit("the native engine is not installed: pip install -e .")
    listening = listen("127.0.0.1", 0)

    async def serve() -> None:
        service = Service(cpu1.load(MODEL), "tiny", SETTINGS)
        await uvicorn.Server(configuration(service)).serve([listening])

    threading.Thread(target=lambda: asyncio.run(serve()), daemon=True).start()
    return int(listening.getsockname()[1])


def answer(data: bytes) -> bytes:
    """All that comes back. TimeoutError where the connection stays open."""
    how, sent = data[0], data[1:]
    half = len(sent) // 2 if how & 2 else 0
    found = b""
    connecting = socket.create_connection(("127.0.0.1", port()), LONGEST)
    with closing(connecting) as connection, suppress(ConnectionError):  # the server may close before it has read all
        for part in (sent[:half], sent[half:]):
            connection.sendall(part)
        if how & 1:
            with suppress(OSError):  # the server was first
                connection.shutdown(socket.SHUT_WR)
        while piece := connection.recv(65536):
            found += piece
    return found


def ask(data: bytes) -> None:
    """One connection."""
    if not data:
        return
    found = answer(data)
    while found:
        head, _, rest = found.partition(b"\r\n\r\n")
        status = re.match(rb"HTTP/1\.1 (\d{3}) ", head)
        assert status, head
        assert status[1] not in (b"500", b"501"), found[:2000]
        length = re.search(rb"\r\ncontent-length: (\d+)", head.lower())
        body, found = (rest[: int(length[1])], rest[int(length[1]) :]) if length else (rest, b"")
        if int(status[1]) >= 400 and body and b"application/json" in head:
            error = json.loads(body)["error"]
            assert set(error) == {"message", "type", "param", "code"}, error
            assert "\n" not in error["message"], error


def mutated(data: bytes, rng: random.Random) -> bytes:
    """Another number, word or stretch of the body; its length is kept right, but for one in eight."""
    head, blank, body = data.partition(b"\r\n\r\n")
    if not blank:
        return changed(data, rng)
    body = changed(body, rng)
    if rng.random() < 0.875:
        head = re.sub(rb"(?i)(content-length: )\d+", rb"\g<1>%d" % len(body), head)
    return head + blank + body


if __name__ == "__main__":
    counted.fuzz(ask, mutated)
