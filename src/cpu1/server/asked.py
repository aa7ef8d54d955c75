"""Requests for text: the fields of completions and chats, and what they ask the writer for."""

import os
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from cpu1.runtime.sampling import SamplingOptions
from cpu1.server.errors import ApiError
from cpu1.server.fields import (
    MOST_TEXTS,
    Field,
    Fields,
    as_text,
    flag,
    ignored,
    number,
    only,
    stops,
    stream_options,
    text,
    texts,
    whole,
)
from cpu1.server.settings import Settings

TOKENS = 256  # written where the request has no limit
MOST_TOPS = 20
ROLES = {"system": "System", "developer": "System", "user": "User", "assistant": "Assistant"}


@dataclass(frozen=True)
class Asked:
    """Texts to write: `best` for each prompt, `n` of which are answered."""

    prompts: list[bytes]
    n: int
    best: int
    max_bytes: int
    stop: tuple[str, ...]
    sampling: SamplingOptions  # seed included: text k of a prompt has the seed plus k
    may_end: bool
    echo: bool
    tops: int | None  # likeliest bytes shown for each byte; None: no log-probabilities
    stream: bool
    usage: bool  # at the end of a stream


def _common(settings: Settings) -> dict[str, Field]:
    most = settings.max_tokens
    return {
        "model": text("name of the model, as /v1/models has it"),
        "max_tokens": whole("bytes to write at most; a token is a byte", min(TOKENS, most), 0, most),
        "temperature": number("0 takes the likeliest byte each time, more is more varied", 0.8, 0, 2),
        "top_p": number("draw from the fewest bytes that have this share of the probability", 1, 0, 1),
        "top_k": whole("draw from the K likeliest bytes; 0 and -1 are all", 0, -1, 1 << 20),
        "min_p": number("leave out bytes below this share of the likeliest one's probability", 0, 0, 1),
        "seed": whole("equal requests with equal seeds get equal texts; -1 is any", None, -1, (1 << 63) - 1),
        "n": whole("texts to write", 1, 1, MOST_TEXTS),
        "stop": stops("strings before which a text ends"),
        "stream": flag("send the text in pieces, as server-sent events"),
        "stream_options": stream_options(),
        "ignore_eos": flag("write on where the model would end the document"),
        "presence_penalty": only("not available", 0),
        "frequency_penalty": only("not available", 0),
        "logit_bias": only("not available", {}),
        "user": ignored("has no effect"),
        "metadata": ignored("has no effect"),
        "store": ignored("has no effect"),
        "service_tier": ignored("has no effect"),
        "prompt_cache_key": ignored("has no effect"),
        "safety_identifier": ignored("has no effect"),
    }


def completion_fields(settings: Settings) -> Fields:
    """The fields of /v1/completions."""
    return {
        "prompt": texts(
            "the text to continue, or a list; a list of whole numbers from 0 to 255 is a text in bytes",
            settings.max_prompt,
            required=False,
            tokens=True,
        ),
        **_common(settings),
        "echo": flag("begin the answer with the prompt, also in its log-probabilities"),
        "logprobs": whole("show log-probabilities, and those of this many of the likeliest bytes", None, 0, MOST_TOPS),
        "best_of": whole("write this many texts, and answer the n likeliest", None, 1, MOST_TEXTS),
        "suffix": only("not available", ""),
    }


def chat_fields(settings: Settings) -> Fields:
    """The fields of /v1/chat/completions."""
    return {
        "messages": _messages(settings.max_prompt),
        **_common(settings),
        "max_completion_tokens": whole("the same as max_tokens", None, 0, settings.max_tokens),
        "logprobs": flag("show log-probabilities"),
        "top_logprobs": whole("for each byte, show this many of the likeliest", 0, 0, MOST_TOPS),
        "response_format": only("text is the only one", {"type": "text"}),
        "modalities": only("text is the only one", ["text"]),
        "tools": only("not available", []),
        "tool_choice": only("not available", "none", "auto"),
        "parallel_tool_calls": ignored("has no effect"),
    }


def completion(values: Mapping[str, Any]) -> Asked:
    """What a request for completions wants; ApiError for fields that do not fit together."""
    best = values["best_of"] or values["n"]
    if best < values["n"]:
        raise ApiError(400, f"best_of is {best}; give at least n, {values['n']}", param="best_of")
    if best > values["n"] and values["stream"]:
        raise ApiError(400, "best_of cannot be streamed: the best is known at the end", param="best_of")
    return _asked(values, values["prompt"], best, values["max_tokens"], values["stop"], values["logprobs"])


def chat(values: Mapping[str, Any]) -> Asked:
    """What a request for a chat wants."""
    most = values["max_completion_tokens"]
    if values["top_logprobs"] and not values["logprobs"]:
        raise ApiError(400, "top_logprobs needs logprobs to be true", param="top_logprobs")
    return _asked(
        {**values, "echo": False},
        [rendered(values["messages"]).encode()],
        values["n"],
        values["max_tokens"] if most is None else most,
        (*values["stop"], *(f"\n{name}:" for name in dict.fromkeys(ROLES.values()))),
        values["top_logprobs"] if values["logprobs"] else None,
    )


def _asked(
    values: Mapping[str, Any], prompts: list[bytes], best: int, most: int, stop: tuple[str, ...], tops: int | None
) -> Asked:
    if len(prompts) * best > MOST_TEXTS:
        raise ApiError(400, f"the request asks for {len(prompts) * best:,} texts; {MOST_TEXTS} are allowed", param="n")
    seed = values["seed"]
    sampling: SamplingOptions = {
        "temperature": values["temperature"],
        "top_k": max(values["top_k"], 0),
        "top_p": values["top_p"],
        "min_p": values["min_p"],
        "seed": int.from_bytes(os.urandom(7)) if seed in (None, -1) else seed,
    }
    return Asked(
        prompts,
        values["n"],
        best,
        most,
        stop,
        sampling,
        not values["ignore_eos"],
        values["echo"],
        tops,
        values["stream"],
        values["stream_options"],
    )


def rendered(messages: list[tuple[str, str]]) -> str:
    """A chat as text for a model that continues texts: a paragraph for each message, and the beginning of the next."""
    return "".join(f"{ROLES[role]}: {content}\n\n" for role, content in messages) + "Assistant: "


def _messages(most: int) -> Field:
    def read(value: Any) -> list[tuple[str, str]]:
        if not isinstance(value, list) or not value:
            raise ValueError("give a list of at least one message")
        found = [_message(each, most) for each in value]
        size = len(rendered(found).encode())
        if size > most:
            raise ValueError(f"together they have {size:,} bytes, and this server takes {most:,}")
        return found

    content = {"anyOf": [{"type": "string"}, {"type": "array", "items": {"type": "object"}}]}
    message = {
        "type": "object",
        "properties": {"role": {"enum": list(ROLES)}, "content": content},
        "required": ["role", "content"],
    }
    return Field("the chat so far", {"type": "array", "items": message, "minItems": 1}, read, required=True)


def _message(value: Any, most: int) -> tuple[str, str]:
    role = value.get("role") if isinstance(value, dict) else None
    if not isinstance(role, str) or role not in ROLES:
        raise ValueError(f"a message is an object with a role ({', '.join(ROLES)}) and a content")
    content = value.get("content")
    if isinstance(content, list):
        if not all(isinstance(part, dict) and part.get("type") == "text" for part in content):
            raise ValueError("this server reads text only: parts of a content have the type text")
        return role, "".join(as_text(part.get("text"), most) for part in content)
    return role, as_text(content, most)
