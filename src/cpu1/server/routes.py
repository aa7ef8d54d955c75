"""The table of all addresses, which is the application and the page of the API."""

import hmac
import sys
import time
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, NamedTuple

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.middleware.cors import CORSMiddleware
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from cpu1.errors import UserError
from cpu1.server import asked, endpoints, openapi, playground
from cpu1.server.answers import ClientGoneError
from cpu1.server.body import read_json
from cpu1.server.errors import ApiError
from cpu1.server.fields import Fields, read
from cpu1.server.service import Service
from cpu1.server.settings import Settings

Endpoint = Callable[[Service, Request, Mapping[str, Any]], Awaitable[Response]]


class Address(NamedTuple):
    """A method and a path, and what they do. The endpoint's docstring describes it."""

    method: str
    path: str
    endpoint: Endpoint
    fields: Callable[[Settings], Fields] | None = None  # of the JSON in its body
    key: bool = True  # whether it needs a key, where there are keys


async def described(service: Service, request: Request, values: Mapping[str, Any]) -> Response:
    """This description of the API."""
    rows = [
        openapi.Described(each.method, each.path, each.endpoint.__doc__ or "", each.fields, each.key)
        for each in addresses(service.settings)
    ]
    return JSONResponse(openapi.page(rows, service.settings))


async def page(service: Service, request: Request, values: Mapping[str, Any]) -> Response:
    """A page to play with the model."""
    return playground.response()


ADDRESSES = (
    Address("GET", "/v1/models", endpoints.models),
    Address("GET", "/v1/models/{model}", endpoints.one_model),
    Address("POST", "/v1/completions", endpoints.completions, asked.completion_fields),
    Address("POST", "/v1/chat/completions", endpoints.chat_completions, asked.chat_fields),
    Address("POST", "/v1/score", endpoints.score, endpoints.score_fields),
    Address("POST", "/v1/judge", endpoints.judge, endpoints.judge_fields),
    Address("GET", "/health", endpoints.health, key=False),
    Address("GET", "/openapi.json", described, key=False),
    Address("GET", "/", page, key=False),
)
METRICS = Address("GET", "/metrics", endpoints.metrics, key=False)


def addresses(settings: Settings) -> tuple[Address, ...]:
    """All that a server with these settings answers."""
    return (*ADDRESSES, METRICS) if settings.metrics else ADDRESSES


def application(service: Service) -> Starlette:
    """The application that answers them."""
    settings = service.settings
    allowed = Middleware(
        CORSMiddleware,
        allow_origins=settings.origins,
        allow_methods=("GET", "POST"),
        allow_headers=("Authorization", "Content-Type"),
    )
    made = Starlette(
        routes=[Route(each.path, _answering(service, each), methods=[each.method]) for each in addresses(settings)],
        middleware=[allowed] if settings.origins else [],
        exception_handlers={HTTPException: _no_such},
    )
    made.router.redirect_slashes = False  # a redirection would go to any host that the request names
    return made


def _no_such(request: Request, error: Exception) -> Response:
    status = error.status_code if isinstance(error, HTTPException) else 500
    shown = f"{request.method[:20]} {request.url.path[:100]}"
    messages = {404: f"there is no {shown}; /openapi.json has all addresses", 405: f"{shown} is not available"}
    headers = dict(getattr(error, "headers", None) or {})
    return ApiError(status, messages.get(status, "the request cannot be answered"), headers=headers).response()


def _answering(service: Service, address: Address) -> Callable[[Request], Awaitable[Response]]:
    """What Starlette calls: checks the request, and turns every failure into an error of the API's form."""
    fields = address.fields(service.settings) if address.fields else None

    async def answer(request: Request) -> Response:
        begun = time.monotonic()
        try:
            if address.key:
                _check_key(request, service.settings.keys)
            values = read(await read_json(request, service.settings), fields) if fields else {}
            endpoints.known(service, values.get("model"))
            response = await address.endpoint(service, request, values)
        except ApiError as error:
            response = error.response()
        except UserError as error:
            response = ApiError(400, str(error), code="invalid_value").response()
        except ClientGoneError:
            service.metrics.left()
            response = Response(status_code=499)  # nobody reads it
        except Exception as error:  # a fault of ours
            print(f"cpu1: error: {address.method} {address.path}: {error!r}", file=sys.stderr)
            response = ApiError(500, "the server failed to answer", code="internal").response()
        service.metrics.answered(address.path, response.status_code, time.monotonic() - begun)
        return response

    return answer


def _check_key(request: Request, keys: tuple[bytes, ...]) -> None:
    """ApiError where keys are asked for and the request has none of them. Takes the same time for any wrong key."""
    kind, _, given = request.headers.get("authorization", "").partition(" ")
    found = False
    for key in keys:
        found |= hmac.compare_digest(given.strip().encode("latin-1", "replace"), key)
    if keys and not (found and kind.lower() == "bearer"):
        message = "give the key of this server as `Authorization: Bearer KEY`"
        raise ApiError(401, message, code="invalid_api_key", headers={"WWW-Authenticate": "Bearer"})
