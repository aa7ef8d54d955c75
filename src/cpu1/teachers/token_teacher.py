"""A token model as a teacher of bytes.

Shapes: n contexts, D width of the hidden states.
"""

from collections.abc import Iterator, Sequence
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor

from cpu1.errors import UserError
from cpu1.teachers.marginal import Contexts, TokenPath, byte_probabilities
from cpu1.teachers.teacher import Lesson, Piece, batches
from cpu1.teachers.trie import Indices, Trie

BATCH = 4096  # tokens
DEPTH = 1  # tokens off the path: the next token is mostly back at one of its borders
LOOK_BACK = 64  # bytes before the first predicted byte of a piece: contexts that end earlier are left out


class ReadTokens(Contexts, Protocol):
    """Token sequences that a model has read: a context after each token, numbered sequence by sequence."""

    def hidden(self, contexts: Indices) -> Tensor:
        """The vectors (n, D) that the model's head reads."""
        ...


class TokenModel(Protocol):
    """A causal model of tokens with known bytes: `encode` gives a text's tokens, `read` the model's contexts."""

    identity: dict[str, Any]  # as a teacher's
    token_bytes: list[bytes | None]  # None: not text, left out of every sum
    trie: Trie  # of `token_bytes`; logits are in its order
    start: int  # the token before a text
    width: int  # D
    window: int  # tokens that it can read at once

    def encode(self, text: bytes) -> list[int]: ...
    def read(self, sequences: Sequence[Sequence[int]]) -> ReadTokens: ...


class TokenTeacher:
    """A teacher that reads pieces along their own tokenisation. `marginal` explains `share` and `depth`.

    UserError for a share outside 0 to 1.
    """

    def __init__(self, model: TokenModel, share: float, depth: int | None = DEPTH) -> None:
        if not 0 <= share <= 1:
            raise UserError(f"the share is {share}: it must lie in 0 to 1")
        self._model, self._share, self._depth = model, share, depth
        self.identity = {**model.identity, "share": share, "depth": depth}
        self.width = model.width
        self.window = model.window - 2 * LOOK_BACK  # a token has at least one byte; some bytes end the last word

    @torch.inference_mode()
    def read(self, pieces: Sequence[Piece]) -> Iterator[tuple[int, Lesson]]:
        """A lesson for each piece, in any order: (index, lesson)."""
        encoded = [self._model.encode(piece.text.tobytes()) for piece in pieces]
        for batch in batches([len(ids) for ids in encoded], BATCH):
            lessons = self._lessons([pieces[i] for i in batch], [encoded[i] for i in batch])
            yield from zip(batch, lessons, strict=True)

    def _lessons(self, pieces: list[Piece], encoded: list[list[int]]) -> Iterator[Lesson]:
        """Lessons for one batch: the pieces' texts are laid end to end, from offset to offset."""
        read = self._model.read([[self._model.start, *ids] for ids in encoded])
        contexts, starts, stops = [], [], []
        borders = [self._borders(ids) for ids in encoded]  # where each token starts, and the text's end
        numbers = np.cumsum([0, *(len(border) for border in borders)])
        offsets = np.cumsum([0, *(piece.end for piece in pieces)])
        for piece, border, number, offset in zip(pieces, borders, numbers, offsets, strict=False):
            oldest = max(0, int(np.searchsorted(border, max(0, piece.begin - LOOK_BACK), "right")) - 1)
            chosen = np.arange(oldest, np.searchsorted(border, piece.end))
            contexts.append(number + chosen)
            starts.append(offset + border[chosen])
            stops.append(np.full(len(chosen), offset + piece.end))
        text = np.concatenate([piece.text[: piece.end] for piece in pieces])
        path = TokenPath(text, *(np.concatenate(part) for part in (contexts, starts, stops)))
        probabilities = byte_probabilities(read, self._model.trie, path, self._share, self._depth).astype(np.float32)
        for piece, border, number, offset in zip(pieces, borders, numbers, offsets, strict=False):
            ended = np.flatnonzero((border > piece.begin) & (border <= piece.end))
            hidden = read.hidden(number + ended).float().cpu().numpy()
            yield Lesson(
                probabilities[offset + piece.begin : offset + piece.end], border[ended] - 1 - piece.begin, hidden
            )

    def _borders(self, ids: list[int]) -> Indices:
        return np.cumsum([0, *(len(self._model.token_bytes[i] or b"") for i in ids)])
