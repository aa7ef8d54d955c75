"""Answers that stop their work as soon as the client leaves: whole ones, and streams of events."""

import asyncio
import json
from collections.abc import AsyncGenerator, Callable, Coroutine
from contextlib import aclosing
from typing import Any, TypeVar

from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from cpu1.server.errors import ApiError, too_late

Result = TypeVar("Result")
SILENCE = 15.0  # seconds until a comment shows that the stream is alive, before something on the way cuts it


class ClientGoneError(Exception):
    """Nobody reads the answer."""


async def while_there(receive: Receive, work: Coroutine[Any, Any, Result]) -> Result:
    """What `work` returns; it is cancelled when the client leaves, and ClientGoneError is raised."""
    working, watching = asyncio.ensure_future(work), asyncio.ensure_future(_left(receive))
    try:
        await asyncio.wait({working, watching}, return_when=asyncio.FIRST_COMPLETED)
        if not working.done():
            raise ClientGoneError
        return working.result()
    finally:
        for task in (working, watching):
            task.cancel()
        await asyncio.gather(working, watching, return_exceptions=True)


async def _left(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


async def in_time(seconds: float, work: Coroutine[Any, Any, Result]) -> Result:
    """What `work` returns. ApiError where it takes longer."""
    try:
        async with asyncio.timeout(seconds):
            return await work
    except TimeoutError:
        raise too_late(seconds) from None


class EventStream(Response):
    """Objects as server-sent events, an error as the last of them, then [DONE]. `leave` is called in any case."""

    media_type = "text/event-stream"

    def __init__(self, events: AsyncGenerator[dict[str, object]], seconds: float, leave: Callable[[], None]) -> None:
        super().__init__(headers={"Cache-Control": "no-store", "X-Accel-Buffering": "no"})
        del self.headers["content-length"]
        self._events, self._seconds, self._leave = events, seconds, leave
        self._sent = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Sends all events."""
        try:
            await send({"type": "http.response.start", "status": 200, "headers": self.raw_headers})
            await while_there(receive, self._send(send))
        except ClientGoneError:
            pass
        finally:
            self._leave()

    async def _send(self, send: Send) -> None:
        async def write(line: bytes, more: bool = True) -> None:
            await send({"type": "http.response.body", "body": line, "more_body": more})

        alive = asyncio.ensure_future(self._stay_alive(write))
        try:
            await in_time(self._seconds, self._send_events(write))
        except ApiError as error:
            await write(_event(error.to_json()))
        finally:
            alive.cancel()
        await write(b"data: [DONE]\n\n", False)

    async def _send_events(self, write: Callable[[bytes], Coroutine[Any, Any, None]]) -> None:
        async with aclosing(self._events):
            async for event in self._events:
                await write(_event(event))
                self._sent += 1

    async def _stay_alive(self, write: Callable[[bytes], Coroutine[Any, Any, None]]) -> None:
        while True:
            before = self._sent
            await asyncio.sleep(SILENCE)
            if self._sent == before:
                await write(b": still there\n\n")


def _event(value: dict[str, object]) -> bytes:
    return b"data: " + json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode() + b"\n\n"
