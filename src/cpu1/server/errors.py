"""Errors in the form of OpenAI's API, so that its clients can read them."""

from typing import Any

from starlette.responses import JSONResponse

TYPES = {
    401: "authentication_error",
    404: "not_found_error",
    429: "rate_limit_error",
    500: "server_error",
    503: "server_error",
    504: "timeout_error",
}


class ApiError(Exception):
    """What a client is told: a status of HTTP, one line, and the field that it is about."""

    def __init__(
        self,
        status: int,
        message: str,
        *,
        param: str | None = None,
        code: str | None = None,
        headers: dict[str, str] | None = None,
    ) -> None:
        super().__init__(message)
        self.status, self.message, self.param, self.code, self.headers = status, message, param, code, headers

    def to_json(self) -> dict[str, Any]:
        """The body of the response."""
        kind = TYPES.get(self.status, "invalid_request_error")
        return {"error": {"message": self.message, "type": kind, "param": self.param, "code": self.code}}

    def response(self) -> JSONResponse:
        """The response."""
        return JSONResponse(self.to_json(), self.status, self.headers)


def busy(seconds: int) -> ApiError:
    """The queue is full; `seconds` until it is worth another try."""
    return ApiError(
        429,
        f"the server is busy and its queue is full; try again in {seconds} s",
        code="rate_limit_exceeded",
        headers={"Retry-After": str(seconds)},
    )


def closing() -> ApiError:
    """The server shuts down."""
    return ApiError(503, "the server is shutting down", code="shutting_down", headers={"Connection": "close"})


def too_late(seconds: float) -> ApiError:
    """A request took longer than it may."""
    return ApiError(504, f"the request took longer than {seconds:g} s, the limit of this server", code="timeout")
