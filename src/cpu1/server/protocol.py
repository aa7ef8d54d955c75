"""A connection: uvicorn's, with limits on slow clients, and errors in the form of the API."""

import asyncio
import json
from typing import Any

import h11
from uvicorn.protocols.http.h11_impl import H11Protocol

from cpu1.server.errors import ApiError
from cpu1.server.settings import Settings

PHRASES = {400: b"Bad Request", 408: b"Request Timeout", 503: b"Service Unavailable"}


def protocol(settings: Settings) -> type[H11Protocol]:
    """The class of connections of a server with these settings."""
    return type("Connection", (_Connection,), {"settings": settings})


class _Connection(H11Protocol):
    settings: Settings
    _timer: asyncio.TimerHandle | None = None  # runs while the head of a request is not whole
    _stalled: asyncio.TimerHandle | None = None  # runs while the client does not read

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        if len(self.connections) > self.settings.connections:
            self._refuse(ApiError(503, "there are too many connections", code="too_many_connections"))
        else:
            self._timer = self.loop.call_later(self.settings.head, self._late)

    def data_received(self, data: bytes) -> None:
        if self.transport.is_closing():
            return
        super().data_received(data)
        waits = self.conn.their_state is h11.IDLE and self.conn.our_state is h11.IDLE
        begun = bool(self.conn.trailing_data[0])
        if self._timer and not (waits and begun):
            self._timer.cancel()
            self._timer = None
        elif waits and begun and not self._timer:
            self._timer = self.loop.call_later(self.settings.head, self._late)

    def connection_lost(self, exc: Exception | None) -> None:
        for timer in (self._timer, self._stalled):
            if timer:
                timer.cancel()
        super().connection_lost(exc)

    def pause_writing(self) -> None:
        super().pause_writing()
        self._stalled = self.loop.call_later(self.settings.stalled, self.transport.abort)

    def resume_writing(self) -> None:
        super().resume_writing()
        if self._stalled:
            self._stalled.cancel()
            self._stalled = None

    def send_400_response(self, msg: str) -> None:
        """What uvicorn calls for a request that is not HTTP."""
        self._refuse(ApiError(400, "the request is not valid HTTP", code="invalid_http"))

    def _late(self) -> None:
        self._timer = None
        if self.conn.trailing_data[0]:
            self._refuse(ApiError(408, f"the head did not arrive within {self.settings.head:g} s", code="timeout"))
        else:
            self.transport.close()

    def _refuse(self, error: ApiError) -> None:
        """Answers with an error, if no answer has begun, and closes the connection. The request's work stops."""
        if self.conn.our_state in (h11.IDLE, h11.SEND_RESPONSE):
            body = json.dumps(error.to_json()).encode()
            headers = [
                ("content-type", "application/json"), ("content-length", str(len(body))), ("connection", "close")
            ]  # fmt: skip
            events: list[Any] = [
                h11.Response(status_code=error.status, headers=headers, reason=PHRASES[error.status]),
                h11.Data(data=body),
                h11.EndOfMessage(),
            ]
            self.transport.write(b"".join(self.conn.send(event) or b"" for event in events))
        if self.cycle is not None and not self.cycle.response_complete:
            self.cycle.disconnected = True
            self.cycle.message_event.set()
        self.transport.close()
