"""Runs a server until it is told to stop."""

import asyncio
import contextlib
import logging
import signal
import socket
import sys
from collections.abc import Callable, Iterator
from typing import Any

import uvicorn

from cpu1.errors import UserError
from cpu1.runtime.model import Model
from cpu1.server.protocol import protocol
from cpu1.server.routes import application
from cpu1.server.service import Service
from cpu1.server.settings import Settings

BACKLOG = 1024  # connections that the system keeps for us
SWITCH = 5e-4  # seconds that a thread of Python may hold the others up
AFTER_GRACE = 2.0  # seconds for the last answers to leave


def listen(host: str, port: int) -> socket.socket:
    """A socket at an address. UserError where there is none, or another program has it."""
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
        family, kind, number, _, address = found[0]
        made = socket.socket(family, kind, number)
    except (OSError, UnicodeError) as error:
        raise UserError(f"{host}: no address of this machine ({getattr(error, 'strerror', None) or error})") from None
    try:
        made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        made.bind(address)
        made.listen(BACKLOG)
    except OSError as error:
        made.close()
        raise UserError(f"{host}:{port}: {error.strerror or error}; choose another with --host and --port") from None
    return made


def address(listening: socket.socket) -> str:
    """The address to open in a browser."""
    host, port = listening.getsockname()[:2]
    host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


def serve(
    model: Model, name: str, listening: socket.socket, settings: Settings, ready: Callable[[], None]
) -> signal.Signals | None:
    """Answers requests until a signal; calls `ready` when it does. Returns the signal."""
    sys.setswitchinterval(SWITCH)
    return asyncio.run(_serve(model, name, listening, settings, ready))


async def _serve(
    model: Model, name: str, listening: socket.socket, settings: Settings, ready: Callable[[], None]
) -> signal.Signals | None:
    asyncio.get_running_loop().set_exception_handler(_report)
    service = Service(model, name, settings)
    server = _Server(configuration(service), service, ready)
    try:
        await server.serve([listening])
    finally:
        service.end()
    return server.stopped_by


def configuration(service: Service) -> uvicorn.Config:
    """How uvicorn serves it. Made on the event loop."""
    for logger in ("uvicorn.error", "asyncio"):
        logging.getLogger(logger).setLevel(logging.CRITICAL + 1)  # our own messages have one line
    settings = service.settings
    return uvicorn.Config(
        application(service),
        loop="asyncio",
        http=protocol(settings),
        ws="none",
        lifespan="off",
        log_config=None,
        access_log=False,
        server_header=False,
        backlog=BACKLOG,
        timeout_keep_alive=int(settings.idle),
        timeout_graceful_shutdown=int(settings.grace + AFTER_GRACE),
    )


class _Server(uvicorn.Server):
    """Stops in steps: no new work, texts go on for a while, then they end."""

    stopped_by: signal.Signals | None = None

    def __init__(self, config: uvicorn.Config, service: Service, ready: Callable[[], None]) -> None:
        super().__init__(config)
        self._service, self._ready = service, ready

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self._ready()

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        self._service.close()
        ending = asyncio.get_running_loop().call_later(self._service.settings.grace, self._service.end)
        await super().shutdown(sockets)
        ending.cancel()

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """The first signal stops the server, the second at once. They are not raised again at the end."""
        loop = asyncio.get_running_loop()

        def stop(number: int) -> None:
            if self.should_exit:
                self.force_exit = True
                self._service.end()
            self.should_exit, self.stopped_by = True, signal.Signals(number)

        before = {
            number: signal.signal(number, lambda number, _: loop.call_soon_threadsafe(stop, number))
            for number in (signal.SIGINT, signal.SIGTERM)
        }
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)


def _report(loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
    error = context.get("exception")
    if isinstance(error, OSError):  # a connection broke
        return
    print(f"cpu1: error: {context.get('message')}: {error!r}", file=sys.stderr)
