"""Lets a packed model read a text: what it learns on the way is kept as an adapter. Needs no torch."""

from collections.abc import Sequence

from cpu1.adapting.measure import ByteProgress, pieces
from cpu1.runtime.model import Model


def read(model: Model, texts: Sequence[bytes], progress: ByteProgress | None = None) -> None:
    """Reads texts into the model's state, one after the other. When it is interrupted, the state has what was read."""
    session = model.session()
    try:
        for text in texts:
            for piece in pieces(text):
                session.read(piece)
                if progress is not None:
                    progress(len(piece))
    finally:
        model.state = session.save()
