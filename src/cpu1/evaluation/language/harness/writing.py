"""Requests of the harness to continue a text, and what a model writes for them.

The harness hands the settings of a task over as they are in its YAML file, with the names that others use.
"""

import logging
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from cpu1.errors import UserError
from cpu1.runtime.model import Model

AT_ONCE = 64  # texts of a batch
LENGTHS = ("max_gen_toks", "max_new_tokens", "max_tokens")
DRAWING = ("temperature", "top_k", "top_p", "min_p", "seed")
KNOWN = ("until", "do_sample", *LENGTHS, *DRAWING)


class Wish(NamedTuple):
    """A text to continue."""

    context: str
    max_bytes: int
    until: tuple[str, ...]
    sampling: dict[str, Any]


def wishes(requests: Iterable[tuple[str, Mapping[str, Any]]]) -> list[Wish]:
    """The harness's requests in our terms. Settings that have no meaning here are named once and have no effect."""
    made, unknown = [], set()
    for context, settings in requests:
        unknown |= settings.keys() - set(KNOWN)
        made.append(_wish(context, settings))
    if unknown:
        logging.getLogger(__name__).warning("cpu1: no effect have %s", ", ".join(sorted(unknown)))
    return made


def _wish(context: str, settings: Mapping[str, Any]) -> Wish:
    until = settings.get("until") or ()
    length = next((settings[name] for name in LENGTHS if settings.get(name) is not None), 256)
    sampling = {name: settings[name] for name in DRAWING if settings.get(name) is not None}
    if not settings.get("do_sample", "temperature" in sampling):
        sampling = {"temperature": 0}
    stops = (until,) if isinstance(until, str) else tuple(until)
    return Wish(context, length, tuple(stop for stop in stops if stop), sampling)


def written(model: Model, wanted: Sequence[Wish], threads: int, done: Callable[[int], object]) -> list[str]:
    """What the model writes for each wish, several at once. `done` is called with the number of new texts."""
    texts = [""] * len(wanted)
    batch, numbers, waiting = model.batch(threads), dict[int, int](), iter(enumerate(wanted))
    while True:
        while len(batch) < AT_ONCE and (following := next(waiting, None)):
            number, wish = following
            numbers[batch.add(wish.context, wish.max_bytes, wish.until, **wish.sampling)] = number
        if not len(batch):
            return texts
        for piece in batch.step():
            texts[numbers[piece.stream]] += piece.text
            if piece.end == "error":
                raise UserError(f"{model.path}: its scores are not finite")
            if piece.end:
                done(1)
