"""The runs of a study on texts other than their own, scored once and kept in each run's folder.

A text is scored as a training text's held-out split is: excerpts of its documents, windows that start cold.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from cpu1.data.corpus import Corpus, prepare
from cpu1.errors import UserError
from cpu1.evaluation.bits import TOKEN_BYTES, score
from cpu1.evaluation.report import EXCERPT_BYTES
from cpu1.files import read_json, write_json
from cpu1.runs import load
from cpu1.study.folders import HELD_OUT, load_runs


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
    corpora = {name: prepare(source, field=request.field) for name, source in request.texts.items()}
    scored = 0
    for run in runs:
        for name, corpus in corpora.items():
            progress(f"{run.name} on {name}")
            scored += _score_run(run, name, corpus, request)
    return scored


def _score_run(run: Path, name: str, corpus: Corpus, request: Request) -> bool:
    """Adds one text to a run's `held-out.json`; False when it is there already."""
    path = run / HELD_OUT
    known: dict[str, Any] = read_json(path) if path.exists() else {}
    documents = [d for split in corpus.splits for d in corpus.select(split, request.max_bytes, EXCERPT_BYTES)]
    settings = read_json(run / "settings.json")
    context = settings["window"] * (TOKEN_BYTES if settings["level"] == "token" else 1)
    about = {
        "name": corpus.name,
        "sha256": corpus.sha256,
        "split": "all",
        "documents": len(documents),
        "bytes": sum(map(len, documents)),
        "context": context,
    }
    if known.get(name, {}).get("corpus") == about:
        return False
    trained = load(run, request.device)
    found = score(trained.model, documents, context, trained.tokenizer)
    sums = {"bytes": found.bytes.tolist(), "nats": found.nats.tolist()}
    write_json(path, known | {name: {"corpus": about, "bpb": found.bpb, "documents": sums}})
    return True
