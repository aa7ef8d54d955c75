"""The body of a request: read within limits, and parsed as strict JSON."""

import asyncio
import json
from typing import Any, NoReturn

from starlette.requests import ClientDisconnect, Request

from cpu1.server.errors import ApiError
from cpu1.server.settings import Settings

DRAINED = 16 << 20  # bytes of a body too large that are taken before the answer, as a client sends before it reads
DEPTH = 32  # of lists and objects; requests need five


async def read_json(request: Request, settings: Settings) -> dict[str, Any]:
    """The JSON object in a request's body; ApiError for anything else."""
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind != "application/json":
        # A page of another site can send other types without asking the browser for leave.
        raise ApiError(415, f"the content type is {kind[:100]!r}; send application/json", headers=CLOSE)
    return parse(await _read(request, settings))


CLOSE = {"Connection": "close"}


async def _read(request: Request, settings: Settings) -> bytes:
    body = bytearray()
    size = 0
    try:
        async with asyncio.timeout(settings.body):
            async for chunk in request.stream():
                size += len(chunk)
                if size <= settings.max_body:
                    body += chunk
                elif size > DRAINED:
                    break
    except TimeoutError:
        raise ApiError(408, f"the body did not arrive within {settings.body:g} s", headers=CLOSE) from None
    except ClientDisconnect:
        raise ApiError(400, "the connection ended within the body", headers=CLOSE) from None
    if size > settings.max_body:
        raise ApiError(413, f"the body is larger than {settings.max_body:,} bytes, the limit", headers=CLOSE)
    return bytes(body)


def parse(body: bytes) -> dict[str, Any]:
    """The object that `body` holds as JSON in UTF-8; ApiError for anything else, NaN and infinity included."""
    try:
        text = body.decode()
    except UnicodeDecodeError as error:
        raise ApiError(400, f"the body is not UTF-8 (at byte {error.start:,})") from None
    try:
        found = json.loads(text, parse_constant=_no_number)
    except ValueError as error:
        raise ApiError(400, f"the body is not JSON ({str(error)[:200]})") from None
    except RecursionError:
        raise ApiError(400, "the body is nested too deeply") from None
    if not isinstance(found, dict):
        raise ApiError(400, "the body is not a JSON object")
    if _deeper(found, DEPTH):
        raise ApiError(400, f"the body is nested more than {DEPTH} deep")
    return found


def _no_number(name: str) -> NoReturn:
    raise ValueError(f"{name} is no number of JSON")


def _deeper(value: Any, depth: int) -> bool:
    """Whether lists and objects are nested more than `depth` deep."""
    level = [value]
    while level and depth >= 0:
        level = [
            inner
            for each in level
            if isinstance(each, dict | list)
            for inner in (each.values() if isinstance(each, dict) else each)
            if isinstance(inner, dict | list)
        ]
        depth -= 1
    return bool(level)
