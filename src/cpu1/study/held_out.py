"""The runs of a study on texts other than their own, scored once and kept in each run's folder.

A text is scored as a training text's held-out split is: excerpts of its documents, windows that start cold.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from cpu1.data.corpus import Corpus, prepare
from cpu1.errors import UserError
from cpu1.evaluation.bits import context_bytes, score
from cpu1.evaluation.report import EXCERPT_BYTES
from cpu1.files import read_json, write_json
from cpu1.runs.folders import HELD_OUT, load_runs
from cpu1.runs.trained import load


@dataclass(frozen=True)
class Request:
    """What to score: a study's runs on texts (name -> source), `max_bytes` of each split of a text."""

    study: Path
    texts: Mapping[str, str]
    field: str
    max_bytes: int
    device: torch.device | str = "cpu"


def score_study(request: Request, progress: Callable[[str], None] = lambda _: None) -> int:
    """Scores all finished runs on all texts, but for what is there already; returns how many it scored.

    `progress` is told each run and text. UserError for a text that cannot be read and runs without weights.
    """
    runs = [folder.path for folder in load_runs(request.study) if folder.result]
    if not runs:
        raise UserError(f"{request.study}: holds no finished run; `cpu1 study` trains them")
    texts = [_select(name, prepare(source, field=request.field), request) for name, source in request.texts.items()]
    return sum(_score_run(run, texts, request, progress) for run in runs)


@dataclass(frozen=True)
class Text:
    """What every run of the study is scored on."""

    name: str
    corpus: Corpus
    documents: list[NDArray[np.uint8]]


def _select(name: str, corpus: Corpus, request: Request) -> Text:
    excerpts = (corpus.select(split, request.max_bytes, EXCERPT_BYTES) for split in corpus.splits)
    return Text(name, corpus, [document for part in excerpts for document in part])


def _score_run(run: Path, texts: list[Text], request: Request, progress: Callable[[str], None]) -> int:
    """Adds to a run's `held-out.json` the texts that are not there yet; returns how many."""
    path = run / HELD_OUT
    known: dict[str, Any] = read_json(path) if path.exists() else {}
    settings = read_json(run / "settings.json")
    context = context_bytes(settings["window"], settings["level"])
    missing = [(text, _about(text, context)) for text in texts]
    missing = [(text, about) for text, about in missing if known.get(text.name, {}).get("corpus") != about]
    if not missing:
        return 0
    trained = load(run, request.device)
    for text, about in missing:
        progress(f"{run.name} on {text.name}")
        found = score(trained.model, text.documents, context, trained.tokenizer)
        sums = {"bytes": found.bytes.tolist(), "nats": found.nats.tolist()}
        known[text.name] = {"corpus": about, "bpb": found.bpb, "documents": sums}
        write_json(path, known)
    return len(missing)


def _about(text: Text, context: int) -> dict[str, Any]:
    return {
        "name": text.corpus.name,
        "sha256": text.corpus.sha256,
        "split": "all",
        "documents": len(text.documents),
        "bytes": sum(map(len, text.documents)),
        "context": context,
    }
