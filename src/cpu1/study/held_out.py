"""The runs of a study on texts other than their own, scored once and kept in each run's folder.

A text is scored as a training text's held-out split is: excerpts of its documents in windows that start cold, and
longer parts of its documents from their beginning.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from cpu1.data.corpus import Corpus, prepare
from cpu1.errors import UserError
from cpu1.evaluation.bits import context_bytes, score, score_documents
from cpu1.evaluation.report import DOCUMENT_BYTES, EXCERPT_BYTES
from cpu1.files import write_json
from cpu1.records import to_json
from cpu1.runs.folders import HELD_OUT, Run, load_folders
from cpu1.runs.result import Documents, HeldOut, Scored
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
    runs = [run for run in load_folders(request.study) if run.result]
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
    whole: list[NDArray[np.uint8]]  # read from their beginning


def _select(name: str, corpus: Corpus, request: Request) -> Text:
    def sample(longest: int) -> list[NDArray[np.uint8]]:
        parts = (corpus.select(split, request.max_bytes, longest) for split in corpus.splits)
        return [document for part in parts for document in part]

    return Text(name, corpus, sample(EXCERPT_BYTES), sample(DOCUMENT_BYTES))


def _score_run(run: Run, texts: list[Text], request: Request, progress: Callable[[str], None]) -> int:
    """Adds to a run's `held-out.json` the texts that are not there yet; returns how many."""
    if run.settings is None:
        raise UserError(f"{run.path}: no settings.json, which says how far the model looks back")
    known, context = dict(run.held_out), context_bytes(run.settings.window, run.settings.level)
    missing = [(text, _about(text, context)) for text in texts]
    missing = [(text, about) for text, about in missing if not _is_scored(known.get(text.name), about)]
    if not missing:
        return 0
    trained = load(run.path, request.device)
    for text, about in missing:
        progress(f"{run.key.folder} on {text.name}")
        found = score(trained.model, text.documents, context, trained.tokenizer)
        documents = Documents(tuple(found.bytes.tolist()), tuple(found.nats.tolist()))
        nats = score_documents(trained.model, text.whole, trained.tokenizer)
        whole = float(nats.sum() / sum(map(len, text.whole)) / np.log(2))
        known[text.name] = HeldOut(about, found.bpb, documents, whole)
        write_json(run.path / HELD_OUT, to_json(known))
    return len(missing)


def _is_scored(known: HeldOut | None, about: Scored) -> bool:
    return known is not None and known.corpus == about and known.document_bpb is not None


def _about(text: Text, context: int) -> Scored:
    count, size = len(text.documents), sum(map(len, text.documents))
    return Scored(text.corpus.name, text.corpus.sha256, "all", count, size, context)
