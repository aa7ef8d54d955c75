"""A token model as a teacher of bytes."""

from collections.abc import Iterator, Sequence
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor

from cpu1.errors import UserError
from cpu1.teachers.marginal import Contexts, Path, byte_probabilities
from cpu1.teachers.teacher import Lesson, Piece, batches
from cpu1.teachers.trie import Indices, Trie

BATCH = 4096  # tokens
DEPTH = 1  # tokens off the path; the next is mostly back at one of its borders, where the path says much the same
LOOK_BACK = 64  # bytes before a piece's first: contexts that end earlier are not asked what comes next


class ReadTokens(Contexts, Protocol):
    """Batches of token sequences that a model has read: a context after each token, numbered sequence by sequence."""

    def hidden(self, contexts: Indices) -> Tensor:
        """What the model's head reads: (n, width)."""
        ...


class TokenModel(Protocol):
    """A causal model of tokens with known bytes."""

    identity: dict[str, Any]
    token_bytes: list[bytes | None]  # None: not text, left out of every sum
    trie: Trie  # of these; logits are in its order
    start: int  # the token before a text
    width: int
    window: int  # tokens it can read at once

    def encode(self, text: bytes) -> list[int]: ...
    def read(self, sequences: Sequence[Sequence[int]]) -> ReadTokens: ...


class TokenTeacher:
    """Reads pieces along their own tokenisation, see `marginal` for what else counts, and for `share` and `depth`."""

    def __init__(self, model: TokenModel, share: float, depth: int | None = DEPTH) -> None:
        if not 0 <= share <= 1:
            raise UserError(f"the share is {share}: it must lie in 0 to 1")
        self._model, self._share, self._depth = model, share, depth
        self.identity = {**model.identity, "share": share, "depth": depth}
        self.width = model.width
        self.window = model.window - 2 * LOOK_BACK  # a token has a byte at least; some bytes end the last word

    @torch.inference_mode()
    def read(self, pieces: Sequence[Piece]) -> Iterator[tuple[int, Lesson]]:
        encoded = [self._model.encode(piece.text.tobytes()) for piece in pieces]
        for batch in batches([len(ids) for ids in encoded], BATCH):
            lessons = self._lessons([pieces[i] for i in batch], [encoded[i] for i in batch])
            yield from zip(batch, lessons, strict=True)

    def _lessons(self, pieces: list[Piece], encoded: list[list[int]]) -> Iterator[Lesson]:
        read = self._model.read([[self._model.start, *ids] for ids in encoded])
        contexts, starts, stops = [], [], []
        borders = [self._borders(ids) for ids in encoded]  # where each token starts, and the text's end
        numbers = np.cumsum([0, *(len(border) for border in borders)])
        places = np.cumsum([0, *(piece.end for piece in pieces)])
        for piece, border, number, place in zip(pieces, borders, numbers, places, strict=False):
            oldest = max(0, int(np.searchsorted(border, max(0, piece.begin - LOOK_BACK), "right")) - 1)
            chosen = np.arange(oldest, np.searchsorted(border, piece.end))
            contexts.append(number + chosen)
            starts.append(place + border[chosen])
            stops.append(np.full(len(chosen), place + piece.end))
        text = np.concatenate([piece.text[: piece.end] for piece in pieces])
        path = Path(text, *(np.concatenate(part) for part in (contexts, starts, stops)))
        probabilities = byte_probabilities(read, self._model.trie, path, self._share, self._depth).astype(np.float32)
        for piece, border, number, place in zip(pieces, borders, numbers, places, strict=False):
            ended = np.flatnonzero((border > piece.begin) & (border <= piece.end))
            hidden = read.hidden(number + ended).float().cpu().numpy()
            yield Lesson(
                probabilities[place + piece.begin : place + piece.end], border[ended] - 1 - piece.begin, hidden
            )

    def _borders(self, ids: list[int]) -> Indices:
        return np.cumsum([0, *(len(self._model.token_bytes[i] or b"") for i in ids)])
