"""Buckets of texts by their bits per byte: head, middle and tail, as CCNet has them by perplexity.

Bits per byte rise with perplexity, so the head is what the model predicts best. CCNet is Wenzek et al. 2020,
https://arxiv.org/abs/1911.00359; its parts are thirds.

Shapes: T texts.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from cpu1.errors import UserError

NAMES = ("head", "middle", "tail")
SHARES = (100 / 3, 200 / 3)  # per cent of the texts below each bound


def bounds(bits: NDArray[np.float64], shares: Sequence[float] = SHARES) -> tuple[float, ...]:
    """The bits per byte that part the buckets: quantiles of `bits` (T,), of which those that are NaN do not count.

    UserError for shares that are not two rising figures between 0 and 100, and where there is no text.
    """
    if len(shares) != len(NAMES) - 1 or not 0 < shares[0] < shares[1] < 100:
        raise UserError(f"shares {', '.join(f'{each:g}' for each in shares)}: name two that rise, like 30,60")
    known = bits[np.isfinite(bits)]
    if not len(known):
        raise UserError("no text, nothing to score")
    return tuple(float(value) for value in np.percentile(known, shares))


def bucket_of(bits: NDArray[np.float64], borders: Sequence[float]) -> list[str | None]:
    """The bucket of each text (T,); None for one without a figure."""
    places = np.searchsorted(borders, bits, side="left")
    return [NAMES[place] if known else None for place, known in zip(places, np.isfinite(bits), strict=True)]
