"""Blocks for pipelines of datatrove: a filter by bits per byte, and their statistics.

from datatrove.executor import LocalPipelineExecutor
from datatrove.pipeline.readers import JsonlReader
from datatrove.pipeline.writers import JsonlWriter
from cpu1.corpora.datatrove import BitsPerByteFilter

steps = [JsonlReader("pages/"), BitsPerByteFilter(most=2.5), JsonlWriter("kept/")]
LocalPipelineExecutor(steps, tasks=2, workers=2).run()

The filter is what datatrove's filters are, and the statistics are next to its CCNetPerplexityStats. Each worker loads
the model when its first document comes, so a pipeline travels without it.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

try:
    from datatrove.data import Document
    from datatrove.io import DataFolderLike
    from datatrove.pipeline.filters.base_filter import BaseFilter
    from datatrove.pipeline.stats.base import BaseStats
    from datatrove.pipeline.stats.config import GROUP
    from datatrove.pipeline.writers.disk_base import DiskWriter
except ImportError as error:
    raise ImportError(f"{error}; datatrove's blocks need: pip install 'cpu1[datatrove]'") from None

from cpu1.errors import UserError
from cpu1.judging.scoring import bits_of_each
from cpu1.runtime.default import default_model
from cpu1.runtime.model import Model

NAME = "bits_per_byte"  # in the metadata of documents


class Loaded:
    """A packed model that is loaded when it is first used, and that pickles as its path."""

    def __init__(self, path: str | Path | None) -> None:
        self.path = str(path or default_model())
        self._model: Model | None = None

    def __getstate__(self) -> dict[str, Any]:
        return {"path": self.path, "_model": None}

    def bits_per_byte(self, texts: Sequence[str]) -> list[float]:
        """Of each text; 0 for an empty one. UserError where the file is no model."""
        self._model = self._model or Model(self.path)
        encoded = (text.encode("utf-8", "surrogatepass") for text in texts)
        return [float(bits.mean()) if len(bits) else 0.0 for _, bits in bits_of_each(self._model, encoded)]


class BitsPerByteFilter(BaseFilter):  # type: ignore[misc, unused-ignore]
    """Keeps documents whose bits per byte are at least `least` and at most `most`; both may be None.

    Their figure is kept in their metadata, as `bits_per_byte`. Reasons for dropping: `unlikely`, `too_likely`.
    """

    name = "cpu1 bits per byte"

    def __init__(
        self,
        most: float | None = None,
        least: float | None = None,
        model: str | Path | None = None,
        exclusion_writer: DiskWriter | None = None,
        batch_size: int = 64,
    ) -> None:
        super().__init__(exclusion_writer, batch_size)
        if most is not None and least is not None and least > most:
            raise UserError(f"least {least} is more than most {most}: no document would be kept")
        self.most, self.least = most, least
        self.model = Loaded(model)

    def filter(self, doc: Document) -> bool | tuple[bool, str]:
        """Whether a document is kept, or False and why not."""
        return self.filter_batch([doc])[0]

    def filter_batch(self, batch: list[Document]) -> list[bool | tuple[bool, str]]:
        """The same for many."""
        found = self.model.bits_per_byte([doc.text for doc in batch])
        for doc, bits in zip(batch, found, strict=True):
            doc.metadata[NAME] = bits
        return [self._verdict(bits) for bits in found]

    def _verdict(self, bits: float) -> bool | tuple[bool, str]:
        if self.most is not None and bits > self.most:
            return False, "unlikely"
        if self.least is not None and bits < self.least:
            return False, "too_likely"
        return True


class BitsPerByteStats(BaseStats):  # type: ignore[misc, unused-ignore]
    """Statistics of documents' bits per byte, in the groups that datatrove has; `bits_per_byte` in their metadata."""

    name = "cpu1 bits per byte stats"

    def __init__(
        self,
        output_folder: DataFolderLike,
        model: str | Path | None = None,
        histogram_round_digits: int = 2,
        groups_to_compute: list[GROUP] | None = None,
        **more: Any,
    ) -> None:
        super().__init__(output_folder, groups_to_compute, histogram_round_digits, **more)
        self.model = Loaded(model)

    def extract_stats(self, doc: Document) -> dict[str, int | float]:
        """The statistic of one document."""
        return {NAME: self.model.bits_per_byte([doc.text])[0]}
