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
    _awaited: str | None = None  # what the client has to send next, if nobody else waits for it
    _timer: asyncio.TimerHandle | None = None  # runs meanwhile
    _stalled: asyncio.TimerHandle | None = None  # runs while the client does not read

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        if len(self.connections) > self.settings.connections:
            self._refuse(ApiError(503, "there are too many connections", code="too_many_connections"))
        else:
            self._wait_for("head")

    def data_received(self, data: bytes) -> None:
        if self.transport.is_closing():
            return
        super().data_received(data)
        self._watch()

    def on_response_complete(self) -> None:
        super().on_response_complete()
        self._watch()

    def connection_lost(self, exc: Exception | None) -> None:
        self._wait_for(None)
        if self._stalled:
            self._stalled.cancel()
        super().connection_lost(exc)

    def _watch(self) -> None:
        """Any data ends uvicorn's own wait for the next request, so whatever is to come is waited for here."""
        ours, theirs = self.conn.our_state, self.conn.their_state
        if self.transport.is_closing():
            self._wait_for(None)
        elif ours is h11.IDLE and theirs is h11.IDLE:
            self._wait_for("head" if self.conn.trailing_data[0] else "request")
        else:  # a request that was answered before its body came needs no body; until the answer, its reader waits
            self._wait_for("rest" if ours is h11.DONE and theirs is h11.SEND_BODY else None)

    def _wait_for(self, awaited: str | None) -> None:
        """More of the same does not begin the time again."""
        if awaited == self._awaited:
            return
        if self._timer:
            self._timer.cancel()
        self._awaited, self._timer = awaited, None
        if awaited:
            limits = {"head": self.settings.head, "request": self.settings.idle, "rest": self.settings.body}
            self._timer = self.loop.call_later(limits[awaited], self._late)

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
        if self._awaited == "head" and self.conn.trailing_data[0]:
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
