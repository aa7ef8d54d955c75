"""A real `cpu1 serve` in a process of its own, and requests to it over sockets."""

import json
import os
import re
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from http.client import HTTPConnection, HTTPResponse
from typing import Any, NamedTuple

TIMEOUT = 60  # seconds that an answer may take: the machine may be busy


class Answer(NamedTuple):
    """A response."""

    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def error(self) -> dict[str, Any]:
        """The error; fails where it is not in the API's form."""
        assert self.status >= 400, self
        assert self.headers["content-type"] == "application/json", self
        found = self.json
        assert set(found) == {"error"}
        assert set(found["error"]) == {"message", "type", "param", "code"}
        message, kind = found["error"]["message"], found["error"]["type"]
        assert message
        assert "\n" not in message
        assert len(message) < 600
        assert kind.endswith("_error")
        return found["error"]


class Served:
    """A server that runs."""

    def __init__(self, process: subprocess.Popen, port: int) -> None:
        self.process, self.port = process, port
        self.errors: list[str] = []
        reading = threading.Thread(target=lambda: self.errors.extend(process.stderr), daemon=True)
        reading.start()
        self._reading = reading

    def connect(self) -> socket.socket:
        return socket.create_connection(("127.0.0.1", self.port), TIMEOUT)

    def raw(self, data: bytes, *, end: bool = False) -> Answer:
        """The answer to these bytes; `end` closes our side after them."""
        with closing(self.connect()) as connection:
            connection.sendall(data)
            if end:
                connection.shutdown(socket.SHUT_WR)
            return answer(connection)

    def ask(self, method: str, path: str, body: Any = None, **headers: str) -> Answer:
        """The answer to a request whose body is JSON, or bytes as they are."""
        data = body if isinstance(body, bytes | None) else json.dumps(body).encode()
        with closing(HTTPConnection("127.0.0.1", self.port, timeout=TIMEOUT)) as connection:
            kind = {} if body is None else {"Content-Type": "application/json"}
            sent = kind | {name.replace("_", "-"): value for name, value in headers.items()}
            connection.request(method, path, data, sent)
            return whole(connection.getresponse())

    def post(self, path: str, /, **fields: Any) -> Any:
        """The JSON that a good request brings."""
        found = self.ask("POST", path, fields)
        assert found.status == 200, found
        return found.json

    def events(self, path: str, /, **fields: Any) -> list[Any]:
        """The objects of a stream, which ends as streams do."""
        found = self.ask("POST", path, {**fields, "stream": True})
        assert found.headers["content-type"].startswith("text/event-stream"), found
        *lines, done = found.body.decode().removesuffix("\n\n").split("\n\n")
        assert done == "data: [DONE]"
        return [json.loads(line.removeprefix("data: ")) for line in lines if not line.startswith(":")]

    def metric(self, name: str) -> float:
        """A figure of /metrics."""
        text = self.ask("GET", "/metrics").body.decode()
        return float(re.search(rf"^{name}(?:{{.*}})? (\S+)$", text, re.MULTILINE)[1])

    def until(self, name: str, value: float, seconds: float = TIMEOUT) -> float:
        """Seconds until a figure is `value`."""
        begun = time.monotonic()
        while self.metric(name) != value:
            assert time.monotonic() - begun < seconds, f"{name} is {self.metric(name)}"
            time.sleep(0.002)
        return time.monotonic() - begun

    def stop(self, signal: int) -> int:
        """Its exit status after a signal."""
        self.process.send_signal(signal)
        return self.wait()

    def wait(self) -> int:
        status = self.process.wait(TIMEOUT)
        self._reading.join(TIMEOUT)
        return status


def answer(connection: socket.socket) -> Answer:
    """The response that a connection brings. Fails where there is none."""
    response = HTTPResponse(connection)
    response.begin()
    return whole(response)


def whole(response: HTTPResponse) -> Answer:
    return Answer(response.status, {name.lower(): value for name, value in response.getheaders()}, response.read())


@contextmanager
def served(*options: str, code: str = "", **environment: str) -> Iterator[Served]:
    """A server on a free port. Afterwards it must have ended or end by itself, without a traceback.

    `code` runs the command line in place of `python -m cpu1`.
    """
    program = ["-c", code] if code else ["-m", "cpu1"]
    process = subprocess.Popen(
        [sys.executable, *program, "serve", "--port", "0", "--threads", "1", *options],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, **environment},
    )
    try:
        line = process.stdout.readline()
        found = re.fullmatch(r"serving \S+ at http://127\.0\.0\.1:(\d+)\n", line)
        assert found, line + (process.stderr.read() if not line else "")
        server = Served(process, int(found[1]))
        yield server
        if process.poll() is None:
            process.terminate()
            assert server.wait() == 0
        assert "Traceback" not in "".join(server.errors)
    finally:
        process.kill()
        process.wait()
