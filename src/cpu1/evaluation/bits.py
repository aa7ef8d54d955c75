"""Bits per byte of a model on documents: the sum of -log2 p over all bytes, a valid code length.

Documents are scored separately, in one of two ways, and every figure says in which.

- *window*: each document is cut into windows of `context` bytes (for BPE runs, of context / 4 tokens) that start cold,
  the memory of the document too. So no byte is predicted from more than `context` bytes, and the first bytes of a
  window from few.
- *document*: state and memory are carried through the whole document.

Shapes: B windows, N units of a window, D documents.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray

from cpu1.data.bpe import Tokenizer
from cpu1.errors import UserError
from cpu1.model.network import Model

UNITS_A_BATCH = 16_384
UNITS_A_CALL = 4096  # of a document
TOKEN_BYTES = 4  # context bytes counted for a token, so that the trunks of BPE and byte runs have one length


def context_bytes(window: int, level: str) -> int:
    """The context in bytes of a run that was trained on windows of `window` units of its level, "byte" or "token"."""
    return window * (TOKEN_BYTES if level == "token" else 1)


@dataclass(frozen=True)
class Score:
    """The loss of each document, and of each position in a window."""

    nats: NDArray[np.float64]  # (D,)
    bytes: NDArray[np.int64]  # (D,)
    units: NDArray[np.int64]  # (D,)
    deleted: float | None  # share of steps that the gate deleted, None without a gate
    nats_at: NDArray[np.float64]  # (N,) by the unit's position in its window
    units_at: NDArray[np.int64]  # (N,) how many units were scored there

    @property
    def loss(self) -> float:
        """Nats a unit, which the original's card calls val loss."""
        return float(self.nats.sum() / self.units.sum())

    @property
    def bpb(self) -> float:
        """True bits per byte, for token runs as well: total nats over total bytes."""
        return float(self.nats.sum() / self.bytes.sum() / np.log(2))


@torch.no_grad()
def score(
    model: Model,
    documents: Sequence[NDArray[np.uint8]],
    context: int,
    tokenizer: Tokenizer | None = None,
    hard: bool = True,
) -> Score:
    """Scores `documents`, arrays of bytes, in fp32 with the integer arithmetic of deployment.

    `context` is in bytes. `hard` lets the DeleteGate delete steps; otherwise it scales them. Raises UserError when the
    documents are empty.
    """
    sizes = np.array([len(document) for document in documents], np.int64)
    if not sizes.sum():
        raise UserError("nothing to score: the documents are empty")
    device = next(model.parameters()).device
    encoded = [tokenizer.encode(bytes(d)).astype(np.int64) if tokenizer else d.astype(np.int64) for d in documents]
    length = min(context if tokenizer is None else max(1, context // TOKEN_BYTES), max(map(len, encoded)))
    nats, deleted, steps = np.zeros(len(documents)), 0.0, 0
    width = -(-length // model.patch) * model.patch
    nats_at, units_at = np.zeros(width), np.zeros(width, np.int64)
    training = model.training
    model.eval()
    for owners, padded, mask in _batches(encoded, length, model.patch):
        inputs = torch.from_numpy(padded).to(device)
        output = model(inputs, hard=hard)
        costs = F.cross_entropy(output.logits.flatten(0, 1).float(), inputs.flatten(), reduction="none")
        cost = costs.view(inputs.shape).double().cpu().numpy() * mask
        np.add.at(nats, owners, cost.sum(1))
        nats_at[: cost.shape[1]] += cost.sum(0)
        units_at[: cost.shape[1]] += mask.sum(0)
        if output.keep is not None:
            real = mask[:, :: model.patch]
            deleted += float((output.keep.cpu().numpy() < 0.5)[real].sum())
            steps += int(real.sum())
    model.train(training)
    units_seen = np.array([len(units) for units in encoded], np.int64)
    return Score(nats, sizes, units_seen, deleted / steps if steps else None, nats_at, units_at)


@torch.no_grad()
def score_documents(
    model: Model, documents: Sequence[NDArray[np.uint8]], tokenizer: Tokenizer | None = None
) -> NDArray[np.float64]:
    """Nats (D,) of each document, read from its beginning to its end, in fp32 with the arithmetic of deployment."""
    device = next(model.parameters()).device
    nats = np.zeros(len(documents))
    training = model.training
    model.eval()
    for place, document in enumerate(documents):
        units = tokenizer.encode(bytes(document)).astype(np.int64) if tokenizer else document.astype(np.int64)
        state = model.start()
        for first in range(0, len(units), UNITS_A_CALL):
            part = units[first : first + UNITS_A_CALL]
            whole = torch.from_numpy(np.pad(part, (0, -len(part) % model.patch)))[None].to(device)
            logits, state = model.extend(whole, state)
            costs = F.cross_entropy(logits[0].float(), whole[0], reduction="none")
            nats[place] += float(costs[: len(part)].double().sum())
    model.train(training)
    return nats


def _batches(
    encoded: Sequence[NDArray[np.int64]], length: int, patch: int
) -> Iterator[tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.bool_]]]:
    """Padded batches of windows of similar length: documents (B,), units (B, N), and whether a unit is real (B, N)."""
    windows = [(i, s, min(length, len(e) - s)) for i, e in enumerate(encoded) for s in range(0, len(e), length)]
    windows.sort(key=lambda window: -window[2])
    while windows:
        width = -(-windows[0][2] // patch) * patch
        count = max(1, UNITS_A_BATCH // width)
        now, windows = windows[:count], windows[count:]
        units = np.zeros((len(now), width), np.int64)
        mask = np.zeros((len(now), width), np.bool_)
        for row, (i, start, size) in enumerate(now):
            units[row, :size] = encoded[i][start : start + size]
            mask[row, :size] = True
        yield np.array([i for i, _, _ in now]), units, mask
