"""A model that keeps what it has read: a text that grows, or changes near its end, costs only the bytes that are new.

States of a session are kept by the text that leads to them. A request starts from the longest kept text that it
begins with, so what it gives is what a new session gives, to the bit.
"""

from collections import OrderedDict

from cpu1.errors import UserError
from cpu1.runtime.model import Model
from cpu1.runtime.sampling import whole
from cpu1.runtime.text import as_bytes
from cpu1.runtime.units import Completion

EVERY = 1024  # bytes between the places that are kept of one text, for changes in its middle
ENDS = 16  # texts whose end is kept, for what is deleted, and for several texts in turn
KEPT_BYTES = 64 << 20  # of states and texts that are kept
LONGEST = 64 << 10  # bytes before the cursor that are read
LEAST_LONGEST, MOST_LONGEST = 64, 1 << 30

Places = OrderedDict[bytes, bytes]  # from a text to the state after it, the least recently used first


class Reader:
    """Completes texts, and reads of each only what no earlier one began with. For one thread at a time."""

    def __init__(self, model: Model, longest: int = LONGEST, kept_bytes: int = KEPT_BYTES) -> None:
        """Of a text, the last `longest` bytes count, see `recent`. At most `kept_bytes` of states are kept.

        The model's `state` now is what texts start from. UserError for a model of tokens.
        """
        if model.tokens is not None:
            raise UserError(f"{model.path}: completions are for models that read bytes; this one reads tokens")
        self.longest, self.kept_bytes = whole("longest", longest, LEAST_LONGEST, MOST_LONGEST), kept_bytes
        self.bytes_read = 0  # for the last text
        self._session = model.session()
        self._text: bytes | None = b""  # that the session has read; None: nobody knows
        self._begin = self._session.save()
        self._steps: Places = OrderedDict()
        self._ends: Places = OrderedDict()

    @property
    def size(self) -> int:
        """Bytes that are kept."""
        return sum(len(text) + len(state) for places in (self._steps, self._ends) for text, state in places.items())

    def complete(self, text: str | bytes, n: int = 5, max_bytes: int = 24) -> list[Completion]:
        """What `Model.complete` gives for the end of `text` that counts."""
        self._go_to(recent(as_bytes(text), self.longest))
        return self._session.complete(b"", n, max_bytes)

    def _go_to(self, text: bytes) -> None:
        """Brings the session to the end of `text`."""
        here, self._text = self._text, None  # until it is there: an interrupt may come between
        known = max((place for place in (*self._steps, *self._ends) if text.startswith(place)), key=len, default=b"")
        if here is not None and text.startswith(here) and len(here) >= len(known):
            known = here
        else:
            self._session.restore(self._steps.get(known) or self._ends.get(known) or self._begin)
        self.bytes_read = len(text) - len(known)
        for step in [each for each in self._steps if text.startswith(each)]:
            self._steps.move_to_end(step)
        at = len(known)
        while at < len(text):
            end = min(len(text), (at // EVERY + 1) * EVERY)
            self._session.read(text[at:end])
            at = end
            if at % EVERY == 0:
                self._keep(self._steps, text[:at])
        if text:
            self._keep(self._ends, text)
        self._text = text

    def _keep(self, places: Places, text: bytes) -> None:
        """Keeps the session's state as that of `text`, and forgets what is too much."""
        places[text] = self._session.save()
        places.move_to_end(text)
        while len(self._ends) > ENDS:
            self._ends.popitem(last=False)
        while self.size > self.kept_bytes and (self._steps or self._ends):
            (self._steps or self._ends).popitem(last=False)


def recent(text: bytes, longest: int) -> bytes:
    """The end of a text that counts, `longest` bytes at most, and half as many at least.

    Its beginning stays while the text grows by half of `longest`, so that what was read of it stays of use. It is the
    beginning of a character.
    """
    if len(text) <= longest:
        return text
    half = longest // 2
    start = -(-(len(text) - longest) // half) * half
    while start < len(text) and text[start] & 0xC0 == 0x80:
        start += 1
    return text[start:]
