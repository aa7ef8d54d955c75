"""Many streams by one stream each, one after the other: the plain form of the engine's batch, and its reference.

Shapes: N units, V symbols.
"""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from cpu1.runtime.batch import Request
from cpu1.runtime.coder import weights
from cpu1.runtime.sampling import Sampler
from cpu1.runtime.text import StopStrings
from cpu1.runtime.units import Spelling, UnitStream

PART_UNITS = 64  # of a prompt, read in one step

Found = tuple[int, bytes, NDArray[np.float64] | None, str | None]


class PlainBatch:
    """The streams of a batch; `make` opens one, with or without learning."""

    def __init__(self, make: Callable[[bool], UnitStream], spelling: Spelling, patch: int) -> None:
        self._make, self._spelling, self._patch = make, spelling, patch
        self._running: dict[int, _Running] = {}

    def add(self, stream: int, request: Request) -> None:
        """A new stream. ValueError for a state that is none of it."""
        opened = self._make(request.learn)
        if request.state is not None:
            opened.state = request.state
        self._running[stream] = _Running(opened, request, self._spelling)

    def cancel(self, stream: int) -> None:
        """Drops a stream."""
        self._running.pop(stream, None)

    def step(self, patches: int) -> list[Found]:
        """What each stream wrote: (stream, data, bits, end)."""
        out: list[Found] = []
        for stream, running in list(self._running.items()):
            if running.reads():
                continue
            found = running.write(patches * self._patch)
            if found[0] or found[2]:
                out.append((stream, *found))
            if found[2]:
                self.cancel(stream)
        return out


class _Running:
    def __init__(self, stream: UnitStream, request: Request, spelling: Spelling) -> None:
        self._stream, self._request, self._spelling = stream, request, spelling
        self._sampler, self._stops = Sampler(request.sampling), StopStrings(request.stops)
        self._read = self._written = 0
        self._bits: list[float] = []  # of the bytes that were drawn and not yet handed out

    def reads(self) -> bool:
        """Reads a part of the prompt; whether there was one."""
        part = self._request.units[self._read : self._read + PART_UNITS]
        self._read += len(part)
        if len(part):
            self._stream.advance(part)
        return len(part) > 0

    def write(self, count: int) -> tuple[bytes, NDArray[np.float64] | None, str | None]:
        """Draws up to `count` units: data, bits, end."""
        data, stopped, end = b"", False, None
        while count > 0 and not stopped and self._written < self._request.max_bytes and end is None:
            count -= 1
            drawn, end = self._draw()
            drawn = drawn[: self._request.max_bytes - self._written]
            self._written += len(drawn)
            safe, stopped = self._stops.feed(drawn)
            data += safe
        if stopped:
            end = "stop"
        elif end is None and self._written >= self._request.max_bytes:
            end = "limit"
        if end:
            data += self._stops.flush()
        bits, self._bits = self._bits[: len(data)], self._bits[len(data) :]
        return data, np.array(bits, np.float64) if self._request.bits else None, end

    def _draw(self) -> tuple[bytes, str | None]:
        logits = self._stream.next_logits()
        if not np.isfinite(logits).all():
            return b"", "error"
        unit = self._stream.generate(1, self._sampler, self._request.may_end)
        if not len(unit):
            return b"", "end"
        data = self._spelling.decode(unit)
        mass = weights(logits)
        bits = np.array([-np.log2(mass[unit[0]] / mass.sum())])
        self._bits += self._spelling.spread(bits, unit).tolist()
        return data, None
