"""The server under load: clients at once, what they wait for, and what they cost.

python bench/load.py [--clients 1,16,64,256,1000] [--seconds 20] [--out results/bench/load.json]
python bench/load.py --soak 60 [--out results/bench/soak.json]

Every client asks for 200 bytes as a stream, again and again, over a connection that is kept. Meanwhile /health is asked
fifty times a second. The same again by wrk (Debian's package wrk), whose own work is small; it asks for a stream too,
and does not know when its first piece came. Then, in turn: 64 clients of the server, and a thread and a session for
each of 64 texts. A client that leaves is timed until its text is gone. With --soak there are 64 clients, and one
request in ten is left in the middle.
"""

import argparse
import asyncio
import json
import os
import random
import re
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from streams import BYTES, PROMPTS, by_batch, by_threads
from streams import seconds as elapsed

from cpu1.cli.options import positive
from cpu1.files import write_atomic
from cpu1.runtime.default import default_model
from cpu1.runtime.model import Model
from cpu1.runtime.processor import processor

THREADS = 2
LONG = "The sea was calm that night. " * 2000
TICKS = os.sysconf("SC_CLK_TCK")


# -------------------------------------------------------------------------------------- the server


class Served:
    """A server that runs."""

    def __init__(self, model: Path, *options: str) -> None:
        words = [sys.executable, "-m", "cpu1", "serve", "-m", str(model), "--port", "0", "--metrics", *options]
        self.process = subprocess.Popen(words, stdout=subprocess.PIPE, text=True)
        assert self.process.stdout is not None
        found = re.search(r":(\d+)\n", self.process.stdout.readline())
        if not found:
            sys.exit("load: the server did not start")
        self.port = int(found[1])

    def rss(self) -> int:
        """Bytes of memory."""
        pages = Path(f"/proc/{self.process.pid}/statm").read_text(encoding="ascii").split()[1]
        return int(pages) * os.sysconf("SC_PAGE_SIZE")

    def cpu(self) -> float:
        """Seconds that cores worked."""
        fields = Path(f"/proc/{self.process.pid}/stat").read_text(encoding="ascii").rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / TICKS

    def stop(self) -> None:
        """Ends it; it must end well."""
        self.process.send_signal(signal.SIGTERM)
        if self.process.wait(60):
            sys.exit(f"load: the server ended with status {self.process.returncode}")


# -------------------------------------------------------------------------------------- the clients


@dataclass
class Seen:
    """What clients saw: seconds, and counts."""

    first: list[float] = field(default_factory=list)
    whole: list[float] = field(default_factory=list)
    bytes: int = 0
    refused: int = 0  # 429
    left: int = 0  # on purpose
    wrong: list[str] = field(default_factory=list)


class Client:
    """A connection that is opened when it is needed, and kept."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._reader: asyncio.StreamReader | None = None
        self._writer: asyncio.StreamWriter | None = None

    async def send(self, method: str, path: str, body: dict[str, Any] | None = None) -> int:
        """Sends a request; returns the status."""
        if self._reader is None or self._writer is None:
            self._reader, self._writer = await asyncio.open_connection("127.0.0.1", self._port)
        data = b"" if body is None else json.dumps(body).encode()
        kind = f"Content-Type: application/json\r\nContent-Length: {len(data)}\r\n" if body is not None else ""
        self._writer.write(f"{method} {path} HTTP/1.1\r\nHost: localhost\r\n{kind}\r\n".encode() + data)
        head = await self._reader.readuntil(b"\r\n\r\n")
        self._chunked = b"transfer-encoding: chunked" in head.lower()
        self._length = int(found[1]) if (found := re.search(rb"content-length: (\d+)", head.lower())) else 0
        return int(head.split(b" ", 2)[1])

    async def part(self) -> bytes:
        """A part of the answer; nothing at its end."""
        assert self._reader is not None
        if not self._chunked:
            data, self._length = await self._reader.readexactly(self._length), 0
            return data
        size = int(await self._reader.readline(), 16)
        return (await self._reader.readexactly(size + 2))[:-2]

    async def rest(self) -> bytes:
        """The rest of the answer."""
        found = b""
        while part := await self.part():
            found += part
        return found

    def close(self) -> None:
        """Leaves, without a word."""
        if self._writer is not None:
            self._writer.transport.abort()
        self._reader = self._writer = None


def text_of(events: bytes) -> str:
    """The text of a stream's events."""
    lines = [line[6:] for line in events.decode().split("\n") if line.startswith("data: {")]
    choices = [choice for line in lines for choice in json.loads(line).get("choices", [])]
    return "".join(choice["text"] for choice in choices)


async def one(client: Client, seen: Seen, number: int, leave_after: int | None = None) -> None:
    """A request: `leave_after` parts of its answer, the client goes."""
    body = {"prompt": PROMPTS[number % 4], "max_tokens": BYTES, "seed": number, "stream": True, "ignore_eos": True}
    begun, events, parts = time.perf_counter(), b"", 0
    try:
        status = await client.send("POST", "/v1/completions", body)
        if status != 200:
            answer = await client.rest()
            if status == 429:
                seen.refused += 1
                await asyncio.sleep(0.2)
            else:
                seen.wrong.append(f"{status} {answer[:200]!r}")
            return
        while part := await client.part():
            if not events:
                seen.first.append(time.perf_counter() - begun)
            events, parts = events + part, parts + 1
            if parts == leave_after:
                seen.left += 1
                return client.close()
    except (OSError, EOFError, ValueError) as error:
        seen.wrong.append(repr(error))
        return client.close()
    seen.whole.append(time.perf_counter() - begun)
    seen.bytes += BYTES
    if not events.endswith(b"data: [DONE]\n\n") or b'"finish_reason":"length"' not in events:
        seen.wrong.append(f"cut: {events[-300:]!r}")


async def health(port: int) -> list[float]:
    """Seconds that /health takes, asked fifty times a second until standard input ends."""
    client, found, loop = Client(port), [], asyncio.get_running_loop()
    over = loop.run_in_executor(None, sys.stdin.read)
    while not over.done():
        begun = time.perf_counter()
        status = await client.send("GET", "/health")
        await client.rest()
        found.append(time.perf_counter() - begun)
        if status != 200:
            sys.exit(f"load: /health answered {status}")
        await asyncio.sleep(0.02)
    client.close()
    return found


async def beside_health(port: int, work: Awaitable[Any]) -> list[float]:
    """Does `work`; returns what /health took meanwhile, asked by a process of its own, which has nothing else to do."""
    words = [sys.executable, __file__, "--probe", str(port)]
    probe = subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    await work
    found: list[float] = json.loads((await asyncio.to_thread(probe.communicate))[0])
    return found


async def crowd(port: int, clients: int, seen: Seen, until: Callable[[int], bool], leaving: float = 0.0) -> None:
    """Clients at once, each asking again until `until` of its number of requests."""
    draw = random.Random(clients)

    async def work(number: int) -> None:
        client, done = Client(port), 0
        while not until(done):
            leave = draw.randint(1, 10) if draw.random() < leaving else None
            await one(client, seen, number + 1000 * done, leave)
            done += 1
        client.close()

    await asyncio.gather(*(work(number) for number in range(clients)))


def quantiles(seconds: list[float]) -> dict[str, float]:
    """Milliseconds."""
    ordered = sorted(seconds)
    at = {"p50": 0.5, "p99": 0.99, "max": 1.0}
    return {name: round(1e3 * ordered[min(len(ordered) - 1, int(len(ordered) * q))], 1) for name, q in at.items()}


# ------------------------------------------------------------------------------------- measurements


def under_load(served: Served, clients: int, seconds: float) -> dict[str, Any]:
    """What some clients see in some seconds; each ends the request that it has begun."""
    seen, end, cpu, begun = Seen(), time.monotonic() + seconds, served.cpu(), time.perf_counter()
    waits = asyncio.run(
        beside_health(served.port, crowd(served.port, clients, seen, lambda done: time.monotonic() > end and done > 0))
    )
    took, worked = time.perf_counter() - begun, served.cpu() - cpu
    return {
        "clients": clients,
        "requests": len(seen.whole),
        "requests_per_s": round(len(seen.whole) / took, 1),
        "bytes_per_s": round(seen.bytes / took),
        "bytes_per_cpu_s": round(seen.bytes / worked),
        "first_ms": quantiles(seen.first),
        "whole_ms": quantiles(seen.whole),
        "health_ms": quantiles(waits),
        "refused": seen.refused,
        "wrong": seen.wrong[:5],
        "rss_mb": round(served.rss() / 1e6, 1),
    }


# of wrk: each request has a seed and a prompt of its own; figures in microseconds
WRK = """
local number, prompts = 0, %s
local body = '{"prompt": %%s, "seed": %%d, "max_tokens": %d, "stream": true, "ignore_eos": true}'
local headers = {["Content-Type"] = "application/json"}
request = function()
  number = number + 1
  return wrk.format("POST", "/v1/completions", headers, body:format(prompts[number %% #prompts + 1], number))
end
done = function(summary, latency)
  local e = summary.errors
  local found = '{"requests": %%d, "us": %%d, "wrong": [%%d, %%d, %%d, %%d, %%d], "waits": [%%d, %%d, %%d]}\\n'
  io.write(found:format(summary.requests, summary.duration, e.connect, e.read, e.write, e.status, e.timeout,
    latency:percentile(50), latency:percentile(99), latency.max))
end
"""


def by_wrk(served: Served, clients: int, seconds: float) -> dict[str, Any]:
    """What wrk sees with some connections in some seconds."""
    quoted = ", ".join("'" + json.dumps(prompt).replace("\\", "\\\\").replace("'", "\\'") + "'" for prompt in PROMPTS)
    with tempfile.TemporaryDirectory() as folder:
        script = Path(folder, "ask.lua")
        script.write_text(WRK % ("{" + quoted + "}", BYTES))
        address = f"http://127.0.0.1:{served.port}"
        words = ["wrk", "-t1", f"-c{clients}", f"-d{seconds:.0f}s", "--timeout", "120s", "-s", str(script), address]
        waits, done = asyncio.run(_beside(served.port, words))
    found = json.loads(done.splitlines()[-1])
    if any(found["wrong"]):
        sys.exit(f"load: wrk counted errors (connect, read, write, status, timeout): {found['wrong']}")
    rate = found["requests"] / found["us"] * 1e6
    return {
        "clients": clients,
        "requests": found["requests"],
        "requests_per_s": round(rate, 1),
        "bytes_per_s": round(rate * BYTES),
        "whole_ms": dict(zip(("p50", "p99", "max"), (round(us / 1e3, 1) for us in found["waits"]), strict=True)),
        "health_ms": quantiles(waits),
        "rss_mb": round(served.rss() / 1e6, 1),
    }


async def _beside(port: int, words: list[str]) -> tuple[list[float], str]:
    """What /health took beside a program, and what that printed."""
    program = asyncio.to_thread(subprocess.run, words, capture_output=True, text=True, check=True)
    running = asyncio.ensure_future(program)
    waits = await beside_health(port, running)
    return waits, (await running).stdout


def at_once(served: Served, clients: int) -> dict[str, Any]:
    """Many clients that come at once, one request each, and the memory of a stream."""
    seen, before, most = Seen(), served.rss(), 0

    async def watch(work: Awaitable[Any]) -> None:
        nonlocal most
        working = asyncio.ensure_future(work)
        while not working.done():
            most = max(most, served.rss())
            await asyncio.sleep(0.05)
        await working

    asyncio.run(watch(crowd(served.port, clients, seen, lambda done: done > 0)))
    return {
        "clients": clients,
        "answered": len(seen.whole),
        "refused": seen.refused,
        "wrong": seen.wrong[:5],
        "kb_per_stream": round((most - before) / clients / 1e3),
        "whole_ms": quantiles(seen.whole),
    }


def pairs(served: Served, model: Model, clients: int, repeats: int) -> dict[str, Any]:
    """Bytes a second in turn of the server (in streams, and whole texts), a batch without a server, and a thread and a
    session each; by the clock and by the time that cores worked. Ratios are to the last."""
    rows: dict[str, list[tuple[float, float]]] = {"server": [], "whole": [], "batch": [], "threads": []}

    def by_server(stream: bool) -> tuple[float, float]:
        seen, begun, cpu = Seen(), time.perf_counter(), served.cpu()
        ask = crowd(served.port, clients, seen, lambda done: done > 0) if stream else whole(served.port, clients, seen)
        asyncio.run(ask)
        if len(seen.whole) != clients:
            sys.exit(f"load: {seen}")
        return time.perf_counter() - begun, served.cpu() - cpu

    ways: list[tuple[str, Callable[[], tuple[float, float]]]] = [
        ("server", lambda: by_server(True)),
        ("whole", lambda: by_server(False)),
        ("batch", lambda: elapsed(lambda: by_batch(model, clients, THREADS))),
        ("threads", lambda: elapsed(lambda: by_threads(model, clients, 0))),
    ]
    for number in range(repeats):
        for name, way in ways if number % 2 else ways[::-1]:
            rows[name].append(way())
    found: dict[str, Any] = {"clients": clients, "pairs": repeats}
    for kind, label in enumerate(("clock", "cpu")):
        times = {name: [row[kind] for row in each] for name, each in rows.items()}
        found[f"{label}_bytes_per_s"] = {n: round(clients * BYTES / statistics.median(t)) for n, t in times.items()}
        for name in ("server", "whole", "batch"):
            ratios = [other / mine for mine, other in zip(times[name], times["threads"], strict=True)]
            found[f"{label}_ratio_{name}"] = [round(f(ratios), 2) for f in (statistics.median, min, max)]
    return found


async def whole(port: int, clients: int, seen: Seen) -> None:
    """Clients that want their texts whole."""

    async def work(number: int) -> None:
        client = Client(port)
        body = {"prompt": PROMPTS[number % 4], "max_tokens": BYTES, "seed": number, "ignore_eos": True}
        begun = time.perf_counter()
        status = await client.send("POST", "/v1/completions", body)
        found = json.loads(await client.rest())
        if status == 200 and found["usage"]["completion_tokens"] == BYTES:
            seen.whole.append(time.perf_counter() - begun)
        client.close()

    await asyncio.gather(*(work(number) for number in range(clients)))


def leaving(served: Served, beside: int, repeats: int) -> dict[str, Any]:
    """Milliseconds from a client's leaving until its text is gone, while others are written: in the middle of writing,
    and of reading its prompt. What is seen of it is /metrics, whose own time is in the figure."""

    async def streams(client: Client) -> int:
        await client.send("GET", "/metrics")
        found = re.search(rb"^cpu1_streams (\S+)$", await client.rest(), re.MULTILINE)
        assert found is not None
        return round(float(found[1]))

    async def timed(fields: dict[str, Any]) -> float:
        probe, client = Client(served.port), Client(served.port)
        await client.send("POST", "/v1/completions", {**fields, "stream": True, "ignore_eos": True})
        while await streams(probe) != beside + 1:
            await asyncio.sleep(0.005)
        await asyncio.sleep(0.05)
        if await streams(probe) != beside + 1:
            sys.exit("load: a text ended before its client left")
        begun = time.perf_counter()
        client.close()
        while await streams(probe) != beside:
            await asyncio.sleep(0.001)
        probe.close()
        return time.perf_counter() - begun

    async def work() -> dict[str, Any]:
        others = [Client(served.port) for _ in range(beside)]
        for other in others:
            await other.send("POST", "/v1/completions", {"max_tokens": 60_000, "stream": True, "ignore_eos": True})
        drained = [asyncio.create_task(other.rest()) for other in others]
        found = {}
        asked: dict[str, dict[str, Any]] = {"writing": {"max_tokens": 60_000}, "reading": {"prompt": LONG}}
        for name, fields in asked.items():
            found[name] = quantiles([await timed(fields) for _ in range(repeats)])
        for task, other in zip(drained, others, strict=True):
            task.cancel()
            other.close()
        await asyncio.gather(*drained, return_exceptions=True)
        return found

    return {"beside": beside, "repeats": repeats, **asyncio.run(work())}


def soak(served: Served, clients: int, minutes: float) -> dict[str, Any]:
    """Clients for some minutes, one request in ten left in the middle; the memory from an early time to the end."""
    seen, begun, memory = Seen(), time.monotonic(), []

    async def watch() -> None:
        while time.monotonic() < begun + 60 * minutes:
            await asyncio.sleep(min(10, 6 * minutes))
            memory.append(served.rss())
            print(f"{time.monotonic() - begun:6.0f} s  {len(seen.whole):,} whole, {seen.left:,} left, "
                  f"{len(seen.wrong)} wrong, {memory[-1] / 1e6:.1f} MB", file=sys.stderr, flush=True)  # fmt: skip

    async def all_of_it() -> None:
        work = crowd(served.port, clients, seen, lambda _: time.monotonic() > begun + 60 * minutes, 0.1)
        await asyncio.gather(work, watch())

    waits = asyncio.run(beside_health(served.port, all_of_it()))
    early, late = (statistics.median(part) for part in (memory[: len(memory) // 4 or 1], memory[-len(memory) // 4 :]))
    return {
        "minutes": minutes,
        "clients": clients,
        "requests": len(seen.whole),
        "left": seen.left,
        "refused": seen.refused,
        "wrong": seen.wrong[:5],
        "health_ms": quantiles(waits),
        "rss_mb": [round(each / 1e6, 1) for each in (early, late)],
        "rss_change": round(late / early - 1, 4),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", type=Path, default=None, help="packed model (default: the bundled one)")
    parser.add_argument("--clients", default="1,16,64,256,1000", help="clients at once (default: %(default)s)")
    parser.add_argument("--seconds", type=positive, default=20, help="for each of them (default: %(default)s)")
    parser.add_argument("--repeats", type=positive, default=5, help="pairs (default: %(default)s)")
    parser.add_argument("--soak", type=float, default=0.0, metavar="MINUTES", help="only this, for so long")
    parser.add_argument("--out", type=Path, default=None, help="file to write the JSON to")
    parser.add_argument("--probe", type=int, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.probe:
        print(json.dumps(asyncio.run(health(args.probe))))
        return
    path = args.model or default_model()
    served = Served(path, "--threads", str(THREADS), "--streams", "1024", "--queue", "1024", "--max-prompt", "64Ki")
    about = {"processor": processor(), "cores": len(os.sched_getaffinity(0)), "model": path.name}
    found: dict[str, Any] = {**about, "threads": THREADS, "load": [round(each, 1) for each in os.getloadavg()]}

    def note(name: str, value: Any) -> None:
        found[name] = value
        print(name, json.dumps(value), file=sys.stderr, flush=True)

    try:
        if args.soak:
            note("soak", soak(served, 64, args.soak))
        else:
            note("at_once", at_once(served, 1000))
            note("clients", [under_load(served, int(clients), args.seconds) for clients in args.clients.split(",")])
            if shutil.which("wrk"):
                note("wrk", [by_wrk(served, int(clients), args.seconds) for clients in args.clients.split(",")])
            note("pairs", pairs(served, Model(path), 64, args.repeats))
            note("leaving", [leaving(served, beside, 20) for beside in (0, 64)])
    finally:
        served.stop()
    found["load_after"] = [round(each, 1) for each in os.getloadavg()]
    if args.out:
        write_atomic(args.out, (json.dumps(found, indent=1) + "\n").encode())
    else:
        print(json.dumps(found, indent=1))


if __name__ == "__main__":
    main()
