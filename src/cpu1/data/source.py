"""What a source of text is: `sources` lists the kinds that there are."""

from collections.abc import Iterator
from typing import Protocol


class Source(Protocol):
    """A text by its name. Nothing is read before the first document is asked for.

    All methods raise UserError when the source is missing, unreadable or damaged.
    """

    def __init__(self, name: str, field: str) -> None:
        """`field`: which part of a record is the text, for sources that have records."""

    @staticmethod
    def claims(name: str) -> bool:
        """Whether `name` is the name of such a source."""
        ...

    @property
    def title(self) -> str:
        """A short name for people."""
        ...

    def identity(self) -> list[object]:
        """A key that is equal for two readings of the same text, found without reading it; the cache depends on it.

        A file in it is a tuple that begins with its path, see `paths.stamps`.
        """
        ...

    def documents(self) -> Iterator[bytes]:
        """The non-empty documents in a stable order."""
        ...
