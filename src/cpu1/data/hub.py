"""Text in a dataset of the Hugging Face hub, or in a local folder of one, streamed by the `datasets` library."""

import os
from collections.abc import Iterator
from pathlib import Path

from cpu1.data.formats import row_documents
from cpu1.data.paths import find_files, stamps
from cpu1.errors import UserError

PREFIX = "hf:"


class HubSource:
    """`hf:NAME` or `hf:NAME:SPLIT`; see `source.Source`. UserError for a dataset without a name."""

    def __init__(self, name: str, field: str) -> None:
        self.name, self.field = name, field
        self.dataset, _, split = name.removeprefix(PREFIX).partition(":")
        self.split = split or "train"
        if not self.dataset:
            raise UserError(f"{name!r}: a dataset is named hf:NAME or hf:NAME:SPLIT")

    @staticmethod
    def claims(name: str) -> bool:
        """Whether it begins with `hf:`."""
        return name.startswith(PREFIX)

    @property
    def title(self) -> str:
        """The last part of the dataset's name."""
        return Path(self.dataset).name

    def identity(self) -> list[object]:
        """The name alone for a dataset on the hub, so that a change of it goes unnoticed; a folder's files as well."""
        files = stamps(find_files(self.dataset)) if os.path.isdir(self.dataset) else ()
        return [PREFIX, self.dataset, self.split, self.field, *files]

    def documents(self) -> Iterator[bytes]:
        """The text of each record's field."""
        try:
            from datasets import load_dataset
        except ImportError:
            raise UserError(f"{self.name}: needs the datasets library: pip install 'cpu1[datasets]'") from None
        try:
            for number, row in enumerate(load_dataset(self.dataset, split=self.split, streaming=True)):
                yield from row_documents(row, self.field, f"{self.name}: record {number}")
        except UserError:
            raise
        except Exception as error:  # the library raises nearly anything: network, scripts, formats, splits
            raise UserError(f"{self.name}: {type(error).__name__}: {error}") from None
