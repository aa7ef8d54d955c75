"""Requests that are malformed or hostile: each gets an error of the API's form, and the server goes on."""

import json
import re
import socket
import struct
import threading
import time
from contextlib import closing

import pytest
from helpers.serving import answer, served

HEAD = b"POST /v1/completions HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
GOOD = b'{"prompt": "The", "max_tokens": 4}'


def request(body: bytes, *lines: str, length: int | str | None = None) -> bytes:
    """A request for completions as bytes; `length` lies about its body."""
    size = len(body) if length is None else length
    more = "".join(f"{line}\r\n" for line in lines).encode()
    return HEAD + more + f"Content-Length: {size}\r\n\r\n".encode() + body


def fields(**values: object) -> bytes:
    return request(json.dumps({"prompt": "The", "max_tokens": 4} | values).encode())


def chat(messages: object, **values: object) -> bytes:
    body = json.dumps({"messages": messages, "max_tokens": 4} | values).encode()
    return request(body).replace(b"/v1/completions", b"/v1/chat/completions")


def to(path: str, **values: object) -> bytes:
    return request(json.dumps(values).encode()).replace(b"/v1/completions", path.encode())


USER = [{"role": "user", "content": "Hi"}]
DEEP = b"[" * 100_000
FIELDS = {
    "prompt is a number": (fields(prompt=7), "prompt"),
    "prompt is true": (fields(prompt=True), "prompt"),
    "prompt is an object": (fields(prompt={"text": "a"}), "prompt"),
    "prompt is an empty list": (fields(prompt=[]), "prompt"),
    "prompt has a null in a list": (fields(prompt=["a", None]), "prompt"),
    "prompt mixes texts and tokens": (fields(prompt=["a", 1]), "prompt"),
    "prompt has a token above 255": (fields(prompt=[1, 256]), "prompt"),
    "prompt has a negative token": (fields(prompt=[-1]), "prompt"),
    "prompt has a token that is a fraction": (fields(prompt=[1, 2.5]), "prompt"),
    "prompt has a token that is true": (fields(prompt=[[1, True]]), "prompt"),
    "prompt is too long": (fields(prompt="a" * 70_000), "prompt"),
    "prompt is too long in bytes": (fields(prompt="é" * 40_000), "prompt"),
    "prompt has too many tokens": (fields(prompt=[1] * 70_000), "prompt"),
    "prompt has too many texts": (fields(prompt=["a"] * 1000), "prompt"),
    "prompt has half a pair": (fields(prompt="a\ud800"), "prompt"),
    "prompt has half a pair that stands for a byte": (fields(prompt="\udc80"), "prompt"),
    "max_tokens is text": (fields(max_tokens="many"), "max_tokens"),
    "max_tokens is negative": (fields(max_tokens=-1), "max_tokens"),
    "max_tokens is a fraction": (fields(max_tokens=1.5), "max_tokens"),
    "max_tokens is huge": (fields(max_tokens=10**30), "max_tokens"),
    "max_tokens is true": (fields(max_tokens=True), "max_tokens"),
    "max_tokens is infinite": (request(b'{"max_tokens": 1e999}'), "max_tokens"),
    "temperature is text": (fields(temperature="hot"), "temperature"),
    "temperature is negative": (fields(temperature=-0.1), "temperature"),
    "temperature is huge": (fields(temperature=1e308), "temperature"),
    "temperature is infinite": (request(b'{"temperature": 1e999}'), "temperature"),
    "temperature is a list": (fields(temperature=[1]), "temperature"),
    "top_p is above 1": (fields(top_p=1.01), "top_p"),
    "top_p is false": (fields(top_p=False), "top_p"),
    "top_k is a fraction": (fields(top_k=0.5), "top_k"),
    "min_p is negative": (fields(min_p=-1), "min_p"),
    "seed is text": (fields(seed="x"), "seed"),
    "seed is huge": (fields(seed=1 << 70), "seed"),
    "n is zero": (fields(n=0), "n"),
    "n is huge": (fields(n=1_000_000), "n"),
    "n and prompts are too many": (fields(n=100, prompt=["a", "b"]), "n"),
    "best_of is below n": (fields(n=3, best_of=2), "best_of"),
    "best_of is streamed": (fields(best_of=2, stream=True), "best_of"),
    "echo is a number": (fields(echo=1), "echo"),
    "stream is text": (fields(stream="yes"), "stream"),
    "stream_options is a list": (fields(stream_options=[]), "stream_options"),
    "stream_options has another option": (fields(stream_options={"x": True}), "stream_options"),
    "stream_options is not true or false": (fields(stream_options={"include_usage": 1}), "stream_options"),
    "logprobs is too large": (fields(logprobs=500), "logprobs"),
    "logprobs is true": (fields(logprobs=True), "logprobs"),
    "stop is empty text": (fields(stop=""), "stop"),
    "stop has empty text": (fields(stop=["a", ""]), "stop"),
    "stop is a number": (fields(stop=3), "stop"),
    "stop is too many": (fields(stop=["a"] * 100), "stop"),
    "stop is long": (fields(stop="a" * 10_000), "stop"),
    "stop has half a pair": (fields(stop="\udfff"), "stop"),
    "suffix": (fields(suffix="after"), "suffix"),
    "logit_bias": (fields(logit_bias={"50256": -100}), "logit_bias"),
    "presence_penalty": (fields(presence_penalty=1), "presence_penalty"),
    "a field that there is not": (fields(temprature=1), "temprature"),
    "a field with a long name": (fields(**{"x" * 5000: 1}), "x" * 100),
    "model is a list": (fields(model=[]), "model"),
    "messages are missing": (to("/v1/chat/completions", max_tokens=4), "messages"),
    "messages are text": (chat("Hi"), "messages"),
    "messages are none": (chat([]), "messages"),
    "messages hold text": (chat(["Hi"]), "messages"),
    "a message without a role": (chat([{"content": "Hi"}]), "messages"),
    "a message of another role": (chat([{"role": "root", "content": "Hi"}]), "messages"),
    "a message whose role is a list": (chat([{"role": [], "content": "Hi"}]), "messages"),
    "a message without a content": (chat([{"role": "user"}]), "messages"),
    "a message with a picture": (
        chat([{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "x"}}]}]),
        "messages",
    ),
    "a message part without text": (chat([{"role": "user", "content": [{"type": "text"}]}]), "messages"),
    "messages are too long": (chat(USER * 10_000), "messages"),
    "tools": (chat(USER, tools=[{"type": "function"}]), "tools"),
    "response_format": (chat(USER, response_format={"type": "json_object"}), "response_format"),
    "top_logprobs without logprobs": (chat(USER, top_logprobs=3), "top_logprobs"),
    "chat logprobs is a number": (chat(USER, logprobs=3), "logprobs"),
    "score without input": (to("/v1/score"), "input"),
    "score of a number": (to("/v1/score", input=4), "input"),
    "score of tokens": (to("/v1/score", input=[4]), "input"),
    "judge with too many passages": (to("/v1/judge", input="a", worst=10**9), "worst"),
    "judge one reading": (to("/v1/judge", input="a", better=True), "input"),
    "judge an empty reading": (to("/v1/judge", input=["a", ""], better=True), "input"),
}  # fmt: skip
BODIES = {
    "no body": request(b""),
    "not JSON": request(b"prompt=hello"),
    "half of JSON": request(GOOD[:-3]),
    "two objects": request(GOOD + GOOD),
    "a list": request(b"[]"),
    "a number": request(b"7"),
    "null": request(b"null"),
    "NaN": request(b'{"temperature": NaN}'),
    "infinity": request(b'{"temperature": Infinity}'),
    "minus infinity": request(b'{"temperature": -Infinity}'),
    "a number of 100,000 digits": request(b'{"max_tokens": ' + b"9" * 100_000 + b"}"),
    "deep lists": request(DEEP),
    "deep lists that are closed": request(b'{"prompt": ' + b"[" * 500 + b"]" * 500 + b"}"),
    "deep objects": request(b'{"a":' * 50_000),
    "single quotes": request(b"{'prompt': 'The'}"),
    "a comma too many": request(b'{"prompt": "The",}'),
    "a control character in a string": request(b'{"prompt": "a\nb"}'),
    "a wrong escape": request(b'{"prompt": "\\x41"}'),
    "latin-1": request('{"prompt": "é"}'.encode("latin-1")),
    "UTF-16": request('{"prompt": "The"}'.encode("utf-16")),
    "UTF-32": request('{"prompt": "The"}'.encode("utf-32-le")),
    "a byte order mark": request(b"\xef\xbb\xbf" + GOOD),
    "overlong UTF-8": request(b'{"prompt": "\xc0\xaf"}'),
    "surrogates in UTF-8": request(b'{"prompt": "\xed\xa0\x80"}'),
    "bytes of gzip": request(b"\x1f\x8b\x08" + b"\0" * 20, "Content-Encoding: gzip"),
    "zeros": request(b"\0" * 1000),
}
HTTP = {
    "no HTTP": (b"hello\r\n\r\n", 400),
    "a TLS hello": (bytes.fromhex("160301020001000001fc0303") + b"\r\n\r\n" * 9, 400),
    "zeros": (b"\0" * 100 + b"\r\n\r\n", 400),
    "HTTP/2's preface": (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 404),
    "another version": (b"GET / HTTP/x\r\n\r\n", 400),
    "no host": (b"GET /health HTTP/1.1\r\n\r\n", 400),
    "two hosts": (b"GET /health HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n", 400),
    "a blank before the colon": (b"GET /health HTTP/1.1\r\nHost : a\r\n\r\n", 400),
    "a line without a colon": (b"GET /health HTTP/1.1\r\nHost: a\r\nnothing\r\n\r\n", 400),
    "a zero in a header": (b"GET /health HTTP/1.1\r\nHost: a\r\nX: a\0b\r\n\r\n", 400),
    "a target with bytes above 127": (b"GET /\xff HTTP/1.1\r\nHost: a\r\n\r\n", 400),
    "a head without end": (b"GET /health HTTP/1.1\r\nHost: a\r\nX: " + b"a" * 200_000, 400),
    "a path without end": (b"GET /" + b"a" * 200_000, 400),
    "negative length": (request(GOOD, length=-1), 400),
    "a length in words": (request(GOOD, length="many"), 400),
    "a length in hexadecimal": (request(GOOD, length="0x10"), 400),
    "two lengths": (request(GOOD, "Content-Length: 3"), 400),
    "a length beyond all memory": (request(GOOD, length=10**30), 400),
    "a chunk with a wrong size": (HEAD + b"Transfer-Encoding: chunked\r\n\r\nzz\r\nabc\r\n", 400),
    "a negative chunk": (HEAD + b"Transfer-Encoding: chunked\r\n\r\n-5\r\nabc\r\n", 400),
    "another transfer encoding": (HEAD + b"Transfer-Encoding: gzip\r\n\r\nabc", 400),
    "a length and chunks": (
        HEAD + b"Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n", 400
    ),
    "a length too short": (request(GOOD, length=10), 400),
    "a body too large": (request(b" " * (2 << 20)), 413),
    "a body of chunks too large": (
        HEAD + b"Transfer-Encoding: chunked\r\n\r\n" + b"10000\r\n" + b" " * 65536 + b"\r\n" * 1
        + (b"10000\r\n" + b" " * 65536 + b"\r\n") * 20 + b"0\r\n\r\n", 413
    ),
    "no content type": (request(GOOD).replace(b"Content-Type: application/json\r\n", b""), 415),
    "a form": (request(GOOD).replace(b"application/json", b"application/x-www-form-urlencoded"), 415),
    "plain text": (request(GOOD).replace(b"application/json", b"text/plain"), 415),
    "another address": (b"GET /v2/models HTTP/1.1\r\nHost: a\r\n\r\n", 404),
    "a path out of the folder": (b"GET /../../etc/passwd HTTP/1.1\r\nHost: a\r\n\r\n", 404),
    "a path out of the folder, escaped": (b"GET /%2e%2e/%2e%2e/etc/passwd HTTP/1.1\r\nHost: a\r\n\r\n", 404),
    "a path that is not UTF-8": (b"GET /%ff%fe HTTP/1.1\r\nHost: a\r\n\r\n", 404),
    "a slash too many": (b"GET /v1/models/ HTTP/1.1\r\nHost: a\r\n\r\n", 404),
    "another model": (b"GET /v1/models/gpt HTTP/1.1\r\nHost: a\r\n\r\n", 404),
    "a request for another model": (fields(model="gpt-4"), 404),
    "another method": (b"DELETE /v1/models HTTP/1.1\r\nHost: a\r\n\r\n", 405),
    "a method that nobody knows": (b"BREW /health HTTP/1.1\r\nHost: a\r\n\r\n", 405),
    "reading completions": (b"GET /v1/completions HTTP/1.1\r\nHost: a\r\n\r\n", 405),
    "an upgrade to websockets": (
        b"GET /v1/completions HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
        b"Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\nSec-WebSocket-Version: 13\r\n\r\n", 405
    ),
    "a tunnel": (b"CONNECT example.com:443 HTTP/1.1\r\nHost: example.com\r\n\r\n", 404),
}  # fmt: skip


def test_there_are_enough():
    assert len(FIELDS) + len(BODIES) + len(HTTP) >= 60


@pytest.fixture(autouse=True)
def lives(server):
    """After each of them, a good request is answered and no text is left over."""
    yield
    assert server.process.poll() is None
    assert server.ask("GET", "/health").status == 200
    server.until("cpu1_streams", 0)


@pytest.mark.parametrize("name", FIELDS)
def test_wrong_fields_are_named(server, name):
    data, field = FIELDS[name]
    found = server.raw(data)
    assert found.status == 400
    assert found.error["param"] == field
    assert found.error["type"] == "invalid_request_error"


@pytest.mark.parametrize("name", BODIES)
def test_bodies_that_are_no_request(server, name):
    assert server.raw(BODIES[name]).status == 400
    assert server.raw(BODIES[name]).error["param"] is None


@pytest.mark.parametrize("name", HTTP)
def test_what_is_no_request(server, name):
    data, status = HTTP[name]
    found = server.raw(data)
    assert found.status == status
    assert found.error


def test_half_closed_connections_end(server):
    """A client that ends its side has left: there is no answer, and no text is written for it."""
    with closing(server.connect()) as connection:
        connection.sendall(request(b'{"max_tokens": 60000, "ignore_eos": true}'))
        connection.shutdown(socket.SHUT_WR)
        assert connection.recv(1) == b""


@pytest.mark.parametrize("size", [0, 1, 20, len(HEAD), len(HEAD) + 30])
def test_connections_that_are_reset(server, size):
    connection = server.connect()
    connection.sendall(request(GOOD)[:size])
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    connection.close()


def test_rubbish_after_a_request_does_not_mix_with_its_answer(server):
    with closing(server.connect()) as connection:
        connection.sendall(fields(stream=True) + b"\0\1\2 rubbish\r\n\r\n")
        received = b"".join(iter(lambda: connection.recv(65536), b""))
    assert received.startswith(b"HTTP/1.1 200 OK")
    assert received.count(b"data: [DONE]") == 1


def test_requests_one_after_the_other_are_answered_in_order(server):
    with closing(server.connect()) as connection:
        connection.sendall(fields(prompt="a", echo=True, max_tokens=0) + fields(prompt="b", echo=True, max_tokens=0))
        received = b""
        while received.count(b'"text"') < 2 and (more := connection.recv(65536)):  # both answers may come at once
            received += more
        assert received.count(b"HTTP/1.1 200 ") == 2
        assert re.findall(rb'"text": ?"(.)"', received) == [b"a", b"b"]


def test_random_bytes(server):
    import random

    draw = random.Random(1)
    for _ in range(200):
        good = bytearray(request(GOOD))
        for _ in range(draw.randint(1, 8)):
            good[draw.randrange(len(good))] = draw.randrange(256)
        with closing(server.connect()) as connection:
            connection.sendall(good)
            connection.shutdown(socket.SHUT_WR)
            received = b"".join(iter(lambda c=connection: c.recv(65536), b""))
        assert received == b"" or received.startswith(b"HTTP/1.1 ")


# --------------------------------------------------------------------- clients that take their time


@pytest.fixture(scope="module")
def hasty():
    """A server with little patience."""
    code = (
        "import sys; from cpu1.cli import main; from cpu1.server import settings; S = settings.Settings\n"
        "hasty = {'head': 0.5, 'body': 0.5, 'stalled': 0.5, 'idle': 1, 'connections': 8}\n"
        "settings.Settings = lambda **asked: S(**asked | hasty)\n"
        "sys.exit(main(sys.argv[1:]))"
    )
    with served("--metrics", "--max-tokens", "4M", code=code) as found:
        yield found


def test_a_head_that_drips_is_cut(hasty):
    with closing(hasty.connect()) as connection:
        for byte in HEAD * 10:
            try:
                connection.sendall(bytes([byte]))
            except OSError:  # broken, or reset
                break
            time.sleep(0.05)
        else:
            pytest.fail("a minute later it is still open")
    assert hasty.ask("GET", "/health").status == 200


def test_a_head_that_stops_is_answered(hasty):
    assert hasty.raw(HEAD).status == 408


def test_a_connection_that_says_nothing_is_closed(hasty):
    with closing(hasty.connect()) as connection:
        assert connection.recv(1) == b""


def test_a_connection_that_was_used_is_closed_after_a_while(hasty):
    with closing(hasty.connect()) as connection:
        connection.sendall(b"GET /health HTTP/1.1\r\nHost: x\r\n\r\n")
        assert answer(connection).status == 200
        assert connection.recv(1) == b""


def test_a_second_head_that_stops_is_answered(hasty):
    with closing(hasty.connect()) as connection:
        connection.sendall(b"GET /health HTTP/1.1\r\nHost: x\r\n\r\n")
        assert answer(connection).status == 200
        connection.sendall(b"GET /hea")
        assert answer(connection).status == 408


def test_a_body_that_is_missing_is_answered(hasty):
    found = hasty.raw(request(GOOD, length=len(GOOD) + 5))
    assert found.status == 408
    assert "body" in found.error["message"]


def test_a_chunk_that_is_missing_is_answered(hasty):
    assert hasty.raw(HEAD + b"Transfer-Encoding: chunked\r\n\r\n20\r\nabc").status == 408


def test_the_rest_of_a_body_is_not_waited_for_after_the_answer(hasty):
    """There is no such address, so the answer comes before the body; a piece of that keeps nothing open."""
    with closing(hasty.connect()) as connection:
        connection.sendall(b"POST /nope HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n")
        assert answer(connection).status == 404
        connection.sendall(b"20\r\nabc")
        assert connection.recv(1) == b""


def test_a_body_that_ends_after_the_answer_leaves_a_connection_like_any_other(hasty):
    with closing(hasty.connect()) as connection:
        connection.sendall(b"POST /nope HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\n")
        assert answer(connection).status == 404
        connection.sendall(b"hello")
        connection.sendall(b"GET /health HTTP/1.1\r\nHost: x\r\n\r\n")
        assert answer(connection).status == 200
        connection.sendall(b"POST /nope HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\n")
        assert answer(connection).status == 404
        connection.sendall(b"hello")
        assert connection.recv(1) == b""


def test_a_client_that_does_not_read_is_dropped(hasty):
    """Its text goes nowhere: the buffers of both systems are full after some megabytes."""
    with closing(socket.socket()) as connection:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        connection.connect(("127.0.0.1", hasty.port))
        connection.sendall(request(b'{"max_tokens": 4000000, "ignore_eos": true, "stream": true, "logprobs": 0}'))
        hasty.until("cpu1_streams", 1)
        hasty.until("cpu1_streams", 0)


def test_connections_too_many_are_refused(hasty):
    held = [hasty.connect() for _ in range(8)]
    try:
        found = hasty.raw(b"")
        assert found.status == 503
        assert found.error["code"] == "too_many_connections"
    finally:
        for each in held:
            each.close()


def test_many_slow_clients_do_not_hold_up_others(server):
    held = [server.connect() for _ in range(100)]
    try:
        for each in held:
            each.sendall(HEAD[:40])
        begun = time.monotonic()
        assert server.raw(fields()).status == 200
        assert time.monotonic() - begun < 10
    finally:
        for each in held:
            each.close()


def test_many_hostile_requests_at_once(server):
    failures = []

    def send(data: bytes) -> None:
        try:
            assert server.raw(data).status in (400, 404, 405, 408, 413, 415)
        except Exception as error:
            failures.append(repr(error))

    sent = [data for data, _ in FIELDS.values()] + list(BODIES.values()) + [data for data, _ in HTTP.values()]
    threads = [threading.Thread(target=send, args=(data,)) for data in sent]
    for each in threads:
        each.start()
    for each in threads:
        each.join()
    assert not failures
