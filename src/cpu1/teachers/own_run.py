"""A byte-level run of this project as a teacher: it predicts bytes, so nothing is summed over tokens."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from cpu1 import device as devices
from cpu1.errors import UserError
from cpu1.runs.settings import Settings
from cpu1.runs.trained import load
from cpu1.teachers.teacher import NUL, Lesson, Piece, batches, content

BATCH = 16_384  # bytes


class OwnRun:
    """A teacher that predicts in the precision of training with a hard gate, every window from a cold start.

    A hidden state is the trunk's vector s after a whole patch. UserError when the folder has no trained byte-level run.
    """

    def __init__(self, folder: Path) -> None:
        trained = load(folder)
        if trained.recipe.level != "byte":
            raise UserError(f"{folder}: this run reads BPE tokens of its own; a byte-level run can teach")
        self._model, self._separator = trained.model, trained.recipe.separator
        if self._model.cuts:
            raise UserError(f"{folder}: patches of a teacher have one length; its patches end behind words")
        self._precision = devices.fast_precision(torch.device("cpu"))
        self.width = trained.recipe.width
        self.window = Settings.read(folder / "settings.json").window
        self.identity: dict[str, Any] = {
            "kind": "run",
            "sha256": content([folder / "model.safetensors"]),
            "precision": self._precision,
        }

    @torch.inference_mode()
    def read(self, pieces: Sequence[Piece]) -> Iterator[tuple[int, Lesson]]:
        """A lesson for each piece, in any order: (index, lesson)."""
        patch = self._model.patch
        for batch in batches([piece.end for piece in pieces], BATCH):
            longest = max(pieces[i].end for i in batch)
            units = np.zeros((len(batch), (longest // patch + 1) * patch), np.int64)  # with s after the last patch
            for row, i in enumerate(batch):
                units[row, : pieces[i].end] = pieces[i].text[: pieces[i].end]
            units[units == NUL] = self._separator
            with torch.autocast("cpu", torch.bfloat16, enabled=self._precision == "bf16"):
                output = self._model(torch.from_numpy(units), hard=True)
            probabilities = torch.softmax(output.logits.float(), -1).numpy()
            if self._separator != NUL:
                probabilities[..., NUL] += probabilities[..., self._separator]
                probabilities = probabilities[..., : self._separator]
            for row, i in enumerate(batch):
                begin, end = pieces[i].begin, pieces[i].end
                steps = np.arange(begin // patch + 1, end // patch + 1)
                hidden = output.s[row, steps].float().numpy()
                yield i, Lesson(probabilities[row, begin:end], steps * patch - 1 - begin, hidden)
