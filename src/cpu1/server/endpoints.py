"""What the server answers at each address."""

import time
from collections.abc import Mapping
from typing import Any

import numpy as np
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from cpu1.errors import UserError
from cpu1.judging.judge import Judgement
from cpu1.server import asked as requests
from cpu1.server.answers import EventStream, in_time, while_there
from cpu1.server.asked import Asked
from cpu1.server.errors import ApiError, closing
from cpu1.server.fields import Fields, flag, text, texts, whole
from cpu1.server.readers import Check
from cpu1.server.service import Service
from cpu1.server.settings import Settings
from cpu1.server.shapes import Chat, Completion, Shape
from cpu1.server.texts import Texts, events
from cpu1.server.tracing import LEAST, PIECE

STARTED = int(time.time())
MOST_PASSAGES = 100


# ------------------------------------------------------------------------------- texts to write


async def completions(service: Service, request: Request, values: Mapping[str, Any]) -> Response:
    """Continue a text."""
    return await _written(service, request, requests.completion(values), Completion(service.name, service.fingerprint))


async def chat_completions(service: Service, request: Request, values: Mapping[str, Any]) -> Response:
    """Answer a chat, by a plain template: the model continues texts."""
    return await _written(service, request, requests.chat(values), Chat(service.name, service.fingerprint))


async def _written(service: Service, request: Request, asked: Asked, shape: Shape) -> Response:
    if asked.tops and service.model.tokens is not None:
        raise ApiError(400, "this model reads tokens, and has no likeliest bytes: give logprobs 0", param="logprobs")
    work = Texts(asked, service.model, service.writer, service.readers)
    seconds = service.settings.timeout
    if asked.stream:
        return EventStream(events(work, shape, asked), seconds, work.leave)
    try:
        choices = await while_there(request.receive, in_time(seconds, work.whole()))
    finally:
        work.leave()
    return JSONResponse(shape.whole(choices, work.usage()))


# -------------------------------------------------------------------------------- texts to read


def score_fields(settings: Settings) -> Fields:
    """The fields of /v1/score."""
    return {"model": text("name of the model"), "input": texts("the text to score, or a list", settings.max_prompt)}


async def score(service: Service, request: Request, values: Mapping[str, Any]) -> Response:
    """Bits of each byte of a text."""

    def work(check: Check) -> list[dict[str, Any]]:
        return [_scored(service, each, check) for each in values["input"]]

    return await _read(service, request, work)


def _scored(service: Service, data: bytes, check: Check) -> dict[str, Any]:
    if service.model.tokens is not None:  # its tokens may reach over the border of two pieces
        check()
        bits = service.model.score(data)
    else:
        session, parts = service.model.session(), [np.empty(0)]
        for start in range(0, len(data), PIECE):
            check()
            parts.append(session.score(data[start : start + PIECE]))
        bits = np.concatenate(parts)
    bits = np.minimum(bits, -LEAST / np.log(2))
    return {
        "bytes": len(data),
        "bits_per_byte": float(bits.mean()) if len(bits) else None,
        "bits": [round(each, 6) for each in bits.tolist()],
    }


def judge_fields(settings: Settings) -> Fields:
    """The fields of /v1/judge."""
    return {
        "model": text("name of the model"),
        "input": texts("the text to judge, or a list", settings.max_prompt),
        "worst": whole("show this many of the worst passages", 3, 0, MOST_PASSAGES),
        "better": flag("two readings of one text are given: choose the better one"),
    }


async def judge(service: Service, request: Request, values: Mapping[str, Any]) -> Response:
    """Whether a text is ordinary, and its worst passages; or which of two readings of a text is the better one."""
    data = values["input"]
    if values["better"] and (len(data) != 2 or not all(data)):
        raise ApiError(400, "better needs two texts that are not empty", param="input")

    def work(check: Check) -> list[Judgement]:
        return list(service.judge.each(data, 1, values["worst"], lambda _: check()))

    found = await _reading(service, request, work)
    more = {}
    if values["better"]:
        gap = found[0].bits_per_byte - found[1].bits_per_byte
        more = {"better": None if gap == 0 else int(gap > 0), "bits_per_byte": abs(gap)}
    results = [{"index": index, **each.to_json()} for index, each in enumerate(found)]
    return JSONResponse({"object": "list", "model": service.name, "data": results, **more})


async def _read(service: Service, request: Request, work: Any) -> Response:
    found = await _reading(service, request, work)
    results = [{"index": index, **each} for index, each in enumerate(found)]
    return JSONResponse({"object": "list", "model": service.name, "data": results})


async def _reading(service: Service, request: Request, work: Any) -> Any:
    try:
        return await while_there(request.receive, in_time(service.settings.timeout, service.readers.run(work)))
    except UserError as error:
        raise ApiError(400, str(error), code="invalid_value") from None


# ---------------------------------------------------------------------------------- the server


def _model(service: Service) -> dict[str, Any]:
    return {"id": service.name, "object": "model", "created": STARTED, "owned_by": "cpu1"}


async def models(service: Service, request: Request, values: Mapping[str, Any]) -> Response:
    """The model that is served, as a list of one."""
    return JSONResponse({"object": "list", "data": [_model(service)]})


async def one_model(service: Service, request: Request, values: Mapping[str, Any]) -> Response:
    """The model that is served."""
    known(service, request.path_params["model"])
    return JSONResponse(_model(service))


def known(service: Service, name: str | None) -> None:
    """ApiError for the name of another model."""
    if name not in (None, service.name):
        raise ApiError(
            404,
            f"there is no model {str(name)[:100]!r}; this server has {service.name!r}",
            param="model",
            code="model_not_found",
        )


async def health(service: Service, request: Request, values: Mapping[str, Any]) -> Response:
    """Whether the server takes work."""
    if service.closing:
        raise closing()
    return JSONResponse({"status": "ok"})


async def metrics(service: Service, request: Request, values: Mapping[str, Any]) -> Response:
    """Figures for Prometheus."""
    return service.metrics.response()
