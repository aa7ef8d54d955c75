"""Many streams in the engine: what `cpu1.runtime.batch` runs. Same results as `plain_batch`.

Shapes: N bytes.
"""

import numpy as np
from numpy.typing import NDArray

from cpu1.lookups.contexts import COUNTS
from cpu1.runtime.batch import Request
from cpu1.runtime.engine import NativeFile, native
from cpu1.runtime.sampling import Sampler
from cpu1.runtime.streams import halves
from cpu1.runtime.units import Spelling

ENDS = (None, "stop", "end", "limit", "error")  # by their number in cpu1.h

Found = tuple[int, bytes, NDArray[np.float64] | None, str | None]


class NativeBatch:
    """The streams of a batch. Calls release the GIL; `add` and `cancel` do not wait for a step."""

    def __init__(self, file: NativeFile, threads: int, spelling: Spelling, state: bytes | None, learn: bool) -> None:
        """`state`: where streams start, of a stream that learns or not; None: at the start of a document."""
        tokens = spelling.tokens.token_bytes if spelling.tokens else []
        self._vocabulary, self._separator = file.vocabulary, file.separator
        self._batch = native().Batch(file.model, threads, tokens)
        if state is not None:
            self._batch.start_from(state, COUNTS if learn else 0)

    def add(self, stream: int, request: Request) -> None:
        """A new stream. ValueError for a state that is none of it."""
        how = request.sampling
        self._batch.add(
            stream,
            request.units,
            request.max_bytes,
            list(request.stops),
            how.temperature,
            min(how.top_k, self._vocabulary),
            how.top_p,
            how.min_p,
            self._separator,
            request.may_end,
            np.array(halves(Sampler(how)), np.uint64),
            COUNTS if request.learn else 0,
            request.bits,
            request.state,
        )

    def cancel(self, stream: int) -> None:
        """Drops a stream, at the end of the step that runs."""
        self._batch.cancel(stream)

    def step(self, patches: int) -> list[Found]:
        """What each stream wrote: (stream, data, bits, end)."""
        return [
            (stream, data, None if bits is None else np.frombuffer(bits), ENDS[end])
            for stream, data, bits, end in self._batch.step(patches)
        ]
