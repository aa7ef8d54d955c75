"""Text from a trained model, unit by unit: the same code as training, with its state carried over."""

from collections.abc import Iterator

import torch

from cpu1.runs.trained import Trained
from cpu1.runtime.sampling import Sampler, Sampling

BLOCK = 1024  # units of a prompt read at a time


@torch.inference_mode()
def generate(
    trained: Trained, prompt: bytes = b"", max_bytes: int = 256, sampling: Sampling | None = None, may_end: bool = True
) -> Iterator[bytes]:
    """Yields the bytes of each new unit, at most `max_bytes` in all.

    Ends early at a document separator, unless it `may_end` not: then none is drawn.
    Raises UserError for settings out of range.
    """
    model, sampler, end = trained.model, Sampler(sampling or Sampling()), trained.recipe.separator
    state = model.start()
    units = trained.encode(prompt)
    whole = units.shape[1] // model.patch * model.patch
    for begin in range(0, whole, BLOCK):
        _, state = model.extend(units[:, begin : min(whole, begin + BLOCK)], state)
    begun, written, own = units[:, whole:], 0, 0
    while written < max_bytes:
        logits = model.next_logits(begun, state, own)[0]
        if not may_end:
            logits[end] = -1e30
        unit = sampler(logits.cpu().numpy())
        if unit == end:
            return
        text = trained.decode(unit)[: max_bytes - written]
        written += len(text)
        yield text
        begun, own = torch.cat((begun, begun.new_tensor([[unit]])), dim=1), own + 1
        if begun.shape[1] == model.patch:
            _, state = model.extend(begun, state, own=own)
            begun, own = begun[:, :0], 0


def continuation(trained: Trained, prompt: bytes, length: int, sampling: Sampling) -> bytes:
    """`length` bytes that follow a prompt, across document ends."""
    return b"".join(generate(trained, prompt, length, sampling, may_end=False))
