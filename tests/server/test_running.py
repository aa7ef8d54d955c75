"""Starting and stopping, keys, other sites, the queue, clients that leave, and an answer to /health at any time."""

import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from contextlib import closing
from http.client import HTTPConnection

import pytest
from helpers.serving import TIMEOUT, answer, served

PATH = "/v1/completions"
LONG = {"prompt": "The", "max_tokens": 60_000, "ignore_eos": True}
READING = {"prompt": "The sea. " * 7000, "max_tokens": 4}


def ask(connection, *, stream=True, **fields):
    body = json.dumps({**fields, "stream": stream})
    connection.request("POST", PATH, body, {"Content-Type": "application/json"})


class Client:
    """A request whose answer is not read yet."""

    def __init__(self, server, **fields):
        self.connection = HTTPConnection("127.0.0.1", server.port, timeout=TIMEOUT)
        ask(self.connection, **fields)

    def leave(self):
        if self.connection.sock:
            self.connection.sock.close()
        self.connection.close()

    def answer(self):
        return self.connection.getresponse()


def run(*words, **environment):
    return subprocess.run(
        [sys.executable, "-m", "cpu1", "serve", *words],
        capture_output=True, text=True, timeout=TIMEOUT, check=False, env={**os.environ, **environment},
    )  # fmt: skip


# -------------------------------------------------------------------------------------- starting


def test_a_busy_port_is_refused_in_one_line(server):
    done = run("--port", str(server.port))
    assert done.returncode == 2
    assert done.stdout == ""
    assert done.stderr.startswith(f"cpu1: 127.0.0.1:{server.port}: Address already in use; choose another")
    assert done.stderr.count("\n") == 1


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--port", "70000"], "70000"),
        (["--port", "-1"], "-1"),
        (["--host", "no.such.host.invalid", "--port", "0"], "no.such.host.invalid"),
        (["--host", "192.0.2.1", "--port", "0"], "192.0.2.1"),
        (["--api-key-file", "none.txt", "--port", "0"], "none.txt: not readable"),
        (["--cors", "example.com", "--port", "0"], "--cors example.com"),
        (["-m", "none.cpu1", "--port", "0"], "none.cpu1"),
        (["--streams", "0"], "--streams"),
    ],
)
def test_bad_options_are_refused_in_one_line(words, message):
    done = run(*words)
    assert done.returncode == 2
    assert message in done.stderr
    assert "Traceback" not in done.stderr


def test_an_empty_key_is_refused(tmp_path):
    (tmp_path / "keys").write_text("\n\n")
    assert "holds no key" in run("--api-key-file", str(tmp_path / "keys"), "--port", "0").stderr
    assert "holds no key" in run("--port", "0", CPU1_API_KEY="").stderr


def test_without_the_extra_one_line_names_it():
    code = (
        "import sys; sys.modules['uvicorn'] = None\nfrom cpu1.cli import main; sys.exit(main(['serve', '--port', '0']))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert "pip install 'cpu1[server]'" in done.stderr


# ------------------------------------------------------------------------------ keys, other sites


def test_keys_guard_all_but_health_and_pages(tmp_path):
    (tmp_path / "keys").write_text("first-key\nsecond-key\n")
    with served("--api-key-file", str(tmp_path / "keys")) as server:
        for key in ("first-key", "second-key"):
            assert server.ask("GET", "/v1/models", Authorization=f"Bearer {key}").status == 200
        for wrong in ("", "Bearer", "Bearer first", "Bearer first-key2", "Basic first-key", "first-key", "Bearer é"):
            found = server.ask("GET", "/v1/models", Authorization=wrong)
            assert found.status == 401
            assert found.error["code"] == "invalid_api_key"
            assert found.headers["www-authenticate"] == "Bearer"
        for path in ("/v1/completions", "/v1/chat/completions", "/v1/score", "/v1/judge"):
            assert server.ask("POST", path, {}).status == 401
        for path in ("/health", "/", "/openapi.json"):
            assert server.ask("GET", path).status == 200
        assert server.ask("GET", "/metrics").status == 404


def test_the_key_may_be_in_the_environment():
    with served(CPU1_API_KEY="the-key") as server:
        assert server.ask("GET", "/v1/models").status == 401
        assert server.ask("GET", "/v1/models", Authorization="Bearer the-key").status == 200


def test_other_sites_are_let_in_only_when_asked_for(server):
    found = server.ask("GET", "/v1/models", Origin="https://example.com")
    assert not [name for name in found.headers if name.startswith("access-control")]
    assert server.ask("OPTIONS", PATH, Origin="https://example.com", Access_Control_Request_Method="POST").status == 405
    with served("--cors", "https://example.com") as open_one:
        found = open_one.ask("GET", "/v1/models", Origin="https://example.com")
        assert found.headers["access-control-allow-origin"] == "https://example.com"
        assert "access-control-allow-credentials" not in found.headers
        other = open_one.ask("GET", "/v1/models", Origin="https://example.org")
        assert "access-control-allow-origin" not in other.headers
        asked = open_one.ask(
            "OPTIONS", PATH, Origin="https://example.com", Access_Control_Request_Method="POST",
            Access_Control_Request_Headers="authorization,content-type",
        )  # fmt: skip
        assert asked.status == 200


# --------------------------------------------------------------------------- the queue, leaving


def test_a_full_queue_refuses_with_a_time_to_come_back(server):
    """Eight texts are written, four wait, and the next one is refused."""
    clients = [Client(server, **LONG) for _ in range(12)]
    try:
        server.until("cpu1_streams", 8)
        server.until("cpu1_waiting", 4)
        found = server.ask("POST", PATH, LONG)
        assert found.status == 429
        assert 1 <= int(found.headers["retry-after"]) <= 60
        assert found.error["type"] == "rate_limit_error"
        assert server.ask("POST", PATH, {**LONG, "stream": True}).status == 429
        assert server.ask("GET", "/health").status == 200
        clients.pop(0).leave()
        server.until("cpu1_waiting", 3)
    finally:
        for client in clients:
            client.leave()
    server.until("cpu1_streams", 0)
    assert server.metric("cpu1_waiting") == 0


def test_more_texts_than_there_is_room_for_are_refused(server):
    assert server.ask("POST", PATH, {"n": 13}).status == 429
    found = server.post(PATH, n=12, max_tokens=8, seed=1)
    assert len(found["choices"]) == 12


@pytest.mark.parametrize("stream", [True, False])
@pytest.mark.parametrize("fields", [LONG, READING, {**LONG, "logprobs": 2}, {**READING, "echo": True, "logprobs": 2}])
def test_a_client_that_leaves_frees_its_text(server, fields, stream):
    """While it is written, and while its prompt is read."""
    client = Client(server, stream=stream, **fields)
    server.until("cpu1_streams", 1)
    time.sleep(0.05)
    client.leave()
    server.until("cpu1_streams", 0)


def test_a_reading_stops_when_its_client_leaves(server):
    connection = HTTPConnection("127.0.0.1", server.port, timeout=TIMEOUT)
    body = json.dumps({"input": ["The sea. " * 7000] * 15})  # a minute of work
    for path in ("/v1/score", "/v1/judge"):
        connection.request("POST", path, body, {"Content-Type": "application/json"})
        time.sleep(0.2)
        connection.sock.close()
        connection.close()
    assert server.post("/v1/score", input="The")["data"][0]["bytes"] == 3  # the only thread that reads is free


def test_a_stream_is_the_same_however_many_leave(server):
    alone = server.post(PATH, prompt="The sea", max_tokens=200, seed=7)
    client = Client(server, prompt="The sea", max_tokens=200, seed=7)
    others = [Client(server, **LONG) for _ in range(6)]
    for other in others[::2]:
        other.leave()
    text = "".join(
        json.loads(line[6:])["choices"][0]["text"]
        for line in client.answer().read().decode().splitlines()
        if line.startswith("data: {")
    )
    for other in others:
        other.leave()
    assert text == alone["choices"][0]["text"]
    server.until("cpu1_streams", 0)


def test_health_is_answered_while_all_texts_are_written(server):
    clients = [Client(server, **LONG) for _ in range(8)]
    try:
        server.until("cpu1_streams", 8)
        with closing(HTTPConnection("127.0.0.1", server.port, timeout=TIMEOUT)) as connection:
            for _ in range(50):
                connection.request("GET", "/health")
                response = connection.getresponse()
                assert response.status == 200
                assert json.load(response) == {"status": "ok"}
    finally:
        for client in clients:
            client.leave()
    server.until("cpu1_streams", 0)


def test_the_model_never_works_on_the_event_loop():
    """Every call of a model's that reads or writes text is made in another thread than the one that answers."""
    code = (
        "import sys, threading\n"
        "from cpu1.cli import main\n"
        "from cpu1.runtime import session, batch, model\n"
        "def watched(owner, name):\n"
        "    real = getattr(owner, name)\n"
        "    def call(*args, **kwargs):\n"
        "        if threading.current_thread() is threading.main_thread():\n"
        "            print('on the loop:', name, file=sys.stderr, flush=True)\n"
        "        return real(*args, **kwargs)\n"
        "    setattr(owner, name, call)\n"
        "for owner, names in ((session.Session, ('read', 'score', 'next_bytes')), (batch.Batch, ('add', 'step')),\n"
        "                     (model.Model, ('score', 'generate', 'encode'))):\n"
        "    for name in names: watched(owner, name)\n"
        "sys.exit(main(sys.argv[1:]))"
    )
    with served(code=code) as server:
        server.post(PATH, prompt="The", max_tokens=9, n=2, best_of=3, logprobs=2, echo=True)
        server.events(PATH, prompt="The", max_tokens=9, logprobs=2, echo=True)
        server.post("/v1/chat/completions", messages=[{"role": "user", "content": "Hi"}], max_tokens=9)
        server.post("/v1/score", input="The")
        server.post("/v1/judge", input="The")
    assert not [line for line in server.errors if "on the loop" in line]


def test_a_request_that_takes_too_long_is_ended():
    with served("--metrics", "--timeout", "1") as server:
        found = server.ask("POST", PATH, LONG)
        assert found.status == 504
        assert found.error["code"] == "timeout"
        assert server.events(PATH, **LONG)[-1]["error"]["code"] == "timeout"
        assert server.ask("POST", "/v1/score", {"input": ["The sea. " * 7000] * 15}).status == 504
        server.until("cpu1_streams", 0)


# -------------------------------------------------------------------------------------- stopping


@pytest.mark.parametrize(("number", "status"), [(signal.SIGTERM, 0), (signal.SIGINT, 130)])
def test_texts_end_before_the_server_does(number, status):
    with served("--metrics", "--grace", "60") as server:
        client = Client(server, prompt="The", max_tokens=3000, ignore_eos=True)
        kept = server.connect()
        kept.sendall(b"GET /health HTTP/1.1\r\nHost: x\r\n\r\n")
        assert answer(kept).status == 200
        server.until("cpu1_streams", 1)
        server.process.send_signal(number)
        body = client.answer().read().decode()
        assert body.endswith("data: [DONE]\n\n")
        assert '"finish_reason":"length"' in body
        assert server.wait() == status
        kept.close()


def test_texts_are_cut_after_the_grace():
    with served("--metrics", "--grace", "1") as server:
        client, whole = Client(server, **LONG), Client(server, stream=False, **LONG)
        silent = server.connect()
        server.until("cpu1_streams", 2)
        begun = time.monotonic()
        server.process.send_signal(signal.SIGTERM)
        body = client.answer().read().decode()
        assert '"code":"shutting_down"' in body
        assert body.endswith("data: [DONE]\n\n")
        assert whole.answer().status == 503
        assert server.wait() == 0
        assert time.monotonic() - begun < 20
        silent.close()


def test_a_second_signal_ends_at_once():
    with served("--metrics", "--grace", "600") as server:
        client = Client(server, **LONG)
        server.until("cpu1_streams", 1)
        server.process.send_signal(signal.SIGINT)
        time.sleep(0.5)
        assert server.process.poll() is None
        assert server.stop(signal.SIGINT) == 130
        client.leave()


def test_no_new_requests_while_it_stops():
    with served("--metrics", "--grace", "30") as server:
        client = Client(server, prompt="The", max_tokens=4000, ignore_eos=True)
        server.until("cpu1_streams", 1)
        server.process.send_signal(signal.SIGTERM)
        time.sleep(0.5)
        with pytest.raises(OSError):  # noqa: PT011 (refused, or reset)
            server.ask("GET", "/health")
        client.answer().read()
        assert server.wait() == 0


def test_many_at_once_lose_nothing(server):
    """More clients than the server writes for: each has its text or a refusal, and texts are as if alone."""
    wanted = server.post(PATH, prompt="The", max_tokens=30, seed=3)["choices"]
    results: list = []

    def work() -> None:
        while True:
            found = server.ask("POST", PATH, {"prompt": "The", "max_tokens": 30, "seed": 3})
            if found.status != 429:
                results.append(found.json["choices"])
                return
            time.sleep(0.05)

    threads = [threading.Thread(target=work) for _ in range(60)]
    for each in threads:
        each.start()
    for each in threads:
        each.join()
    assert results == [wanted] * 60


def test_ipv6(tmp_path):
    try:
        with socket.socket(socket.AF_INET6) as probe:
            probe.bind(("::1", 0))
    except OSError:
        pytest.skip("no IPv6")
    process = subprocess.Popen(
        [sys.executable, "-m", "cpu1", "serve", "--host", "::1", "--port", "0"], stdout=subprocess.PIPE, text=True
    )
    try:
        assert process.stdout.readline().startswith("serving cpu1 at http://[::1]:")
    finally:
        process.terminate()
        assert process.wait(TIMEOUT) == 0


def test_a_text_without_a_limit_keeps_to_that_of_the_server():
    with served("--max-tokens", "5") as server:
        assert server.post("/v1/completions", prompt="The")["usage"]["completion_tokens"] == 5
