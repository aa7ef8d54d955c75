"""Answers in the shapes of OpenAI's API: completions and chats, whole or in pieces."""

import secrets
import time
from collections.abc import Sequence
from typing import Any, NamedTuple, Protocol

from cpu1.server.tracing import END, Row

REASONS = {None: None, "stop": "stop", "end": "stop", "limit": "length"}


class Choice(NamedTuple):
    """A text, or a piece of one."""

    number: int  # among the texts of its request
    text: str
    rows: Sequence[Row] | None  # None: log-probabilities are not wanted
    end: str | None  # as of `runtime.batch.Piece`


class Usage(NamedTuple):
    """Bytes that were read and written for a request."""

    prompt: int
    written: int

    def to_json(self) -> dict[str, int]:
        """In the API's words."""
        return {
            "prompt_tokens": self.prompt,
            "completion_tokens": self.written,
            "total_tokens": self.prompt + self.written,
        }


class Shape(Protocol):
    """How a text is answered."""

    def whole(self, choices: Sequence[Choice], usage: Usage) -> dict[str, Any]: ...
    def opening(self, index: int) -> dict[str, Any] | None: ...
    def piece(self, choice: Choice) -> dict[str, Any]: ...
    def last(self, usage: Usage) -> dict[str, Any]: ...


def token(symbol: int) -> str:
    """A byte as a string: its character where it is ASCII, else like `bytes:\\xc3`. The document's end is empty."""
    if symbol == END:
        return ""
    return chr(symbol) if symbol < 128 else f"bytes:\\x{symbol:02x}"


class _Head:
    """What every answer of one request begins with."""

    prefix: str
    kind: str
    kind_of_pieces: str

    def __init__(self, model: str, fingerprint: str) -> None:
        self._id, self._created = f"{self.prefix}-{secrets.token_hex(12)}", int(time.time())
        self._model, self._fingerprint = model, fingerprint

    def _head(self, kind: str) -> dict[str, Any]:
        return {
            "id": self._id,
            "object": kind,
            "created": self._created,
            "model": self._model,
            "system_fingerprint": self._fingerprint,
        }

    def _choice(self, choice: Choice) -> dict[str, Any]:
        raise NotImplementedError

    def _piece(self, choice: Choice) -> dict[str, Any]:
        raise NotImplementedError

    def whole(self, choices: Sequence[Choice], usage: Usage) -> dict[str, Any]:
        """All texts in one answer."""
        made = [self._choice(choice) for choice in choices]
        return {**self._head(self.kind), "choices": made, "usage": usage.to_json()}

    def opening(self, index: int) -> dict[str, Any] | None:
        """What comes before the first piece of a text, if anything."""
        return None

    def piece(self, choice: Choice) -> dict[str, Any]:
        """A piece of a text."""
        return {**self._head(self.kind_of_pieces), "choices": [self._piece(choice)]}

    def last(self, usage: Usage) -> dict[str, Any]:
        """The usage, after all pieces."""
        return {**self._head(self.kind_of_pieces), "choices": [], "usage": usage.to_json()}


class Completion(_Head):
    """/v1/completions."""

    prefix, kind, kind_of_pieces = "cmpl", "text_completion", "text_completion"

    def _choice(self, choice: Choice) -> dict[str, Any]:
        return {
            "index": choice.number,
            "text": choice.text,
            "logprobs": None if choice.rows is None else _columns(choice.rows),
            "finish_reason": REASONS[choice.end],
        }

    _piece = _choice


def _columns(rows: Sequence[Row]) -> dict[str, Any]:
    """The likeliest bytes of a row also have the byte itself."""
    return {
        "tokens": [token(row.symbol) for row in rows],
        "token_logprobs": [row.logprob for row in rows],
        "top_logprobs": [
            {token(symbol): logprob for symbol, logprob in (*row.tops, (row.symbol, row.logprob))} for row in rows
        ],
        "text_offset": [row.offset for row in rows],
    }


class Chat(_Head):
    """/v1/chat/completions."""

    prefix, kind, kind_of_pieces = "chatcmpl", "chat.completion", "chat.completion.chunk"

    def opening(self, index: int) -> dict[str, Any] | None:
        """Who speaks."""
        made = {"index": index, "delta": {"role": "assistant", "content": ""}, "logprobs": None, "finish_reason": None}
        return {**self._head(self.kind_of_pieces), "choices": [made]}

    def _choice(self, choice: Choice) -> dict[str, Any]:
        return {
            "index": choice.number,
            "message": {"role": "assistant", "content": choice.text, "refusal": None},
            "logprobs": None if choice.rows is None else {"content": list(map(_entry, choice.rows)), "refusal": None},
            "finish_reason": REASONS[choice.end],
        }

    def _piece(self, choice: Choice) -> dict[str, Any]:
        return {
            "index": choice.number,
            "delta": {"content": choice.text} if choice.text else {},
            "logprobs": None if choice.rows is None else {"content": list(map(_entry, choice.rows)), "refusal": None},
            "finish_reason": REASONS[choice.end],
        }


def _entry(row: Row) -> dict[str, Any]:
    return {**_symbol(row.symbol, row.logprob), "top_logprobs": [_symbol(*each) for each in row.tops]}


def _symbol(symbol: int, logprob: float) -> dict[str, Any]:
    return {"token": token(symbol), "logprob": logprob, "bytes": [] if symbol == END else [symbol]}
