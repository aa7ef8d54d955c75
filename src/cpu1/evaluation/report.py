"""The evaluated part of a run's result: the headline figures, their interval, the gate, the sample."""

from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from rich.table import Table

from cpu1.console import open_console
from cpu1.data.corpus import Corpus, prepare
from cpu1.errors import UserError
from cpu1.evaluation import generation
from cpu1.evaluation.baselines import baselines
from cpu1.evaluation.bits import Score, context_bytes, score, score_documents
from cpu1.evaluation.statistics import Interval, bpb_interval
from cpu1.records import to_json
from cpu1.runs.generate import continuation
from cpu1.runs.result import Documents, Evaluation, Gate, Generation, Positions, Scored
from cpu1.runs.settings import Settings
from cpu1.runs.trained import Trained, load
from cpu1.runtime.sampling import Sampling

NUL = 0
EVAL_BYTES = 256 * 1024  # held-out bytes scored by default
EXCERPT_BYTES = 8 * 1024  # in an excerpt of a document, at most
DOCUMENT_BYTES = 64 * 1024  # of a document that is read from its beginning, at most
DOCUMENT_SHARE = 4  # times as many bytes for the document figure, since it needs many long documents
REFERENCE_BYTES = 256 * 1024  # of training text, with whose entropy a sample's is compared
SAMPLE_BYTES = 400
PROMPT_BYTES = 64


def evaluation(
    trained: Trained, corpus: Corpus, split: str, context: int, max_bytes: int
) -> tuple[Evaluation, Documents]:
    """The part of a result that evaluation decides, and the sums of each document (`documents.json`)."""
    documents = corpus.select(split, max_bytes, EXCERPT_BYTES)
    scored = score(trained.model, documents, context, trained.tokenizer)
    interval = bpb_interval(scored.nats, scored.bytes)
    document = document_figure(trained, corpus, split, max_bytes)
    size = int(scored.bytes.sum())
    found = Evaluation(
        corpus=Scored(corpus.name, corpus.sha256, split, len(documents), size, context),
        **headline_figures(scored),
        bpb_interval=(interval.low, interval.high),
        document_bpb=document.value,
        document_interval=(document.low, document.high),
        positions=None if trained.tokenizer else by_position(scored),
        frequency_bpb=frequency_bpb(corpus, documents),
        gate=_gate(trained, scored, documents, context),
        generation=generation_test(trained, documents, corpus.select("train", REFERENCE_BYTES, EXCERPT_BYTES)),
    )
    return found, Documents(tuple(scored.bytes.tolist()), tuple(scored.nats.tolist()))


def document_figure(trained: Trained, corpus: Corpus, split: str, max_bytes: int) -> Interval:
    """Bits per byte of whole documents, read from their beginning, and the interval over them."""
    documents = corpus.select(split, DOCUMENT_SHARE * max_bytes, DOCUMENT_BYTES)
    nats = score_documents(trained.model, documents, trained.tokenizer)
    return bpb_interval(nats, [len(document) for document in documents])


def evaluate_text(
    folder: Path,
    data: str | None,
    field: str,
    split: str,
    context: int | None,
    max_bytes: int,
    joined: bool,
    device: torch.device | str = "cpu",
) -> dict[str, Any]:
    """Scores a trained run and the baselines on any text (`data` None: the text that the run was trained on).

    `split` "all" takes the documents of all splits. `context` None is the run's own, in bytes. `joined` scores the
    documents as one, with separators between them, which are NUL bytes for baselines and models of tokens. UserError
    for a run or text that cannot be read, and for a text that has changed since training.
    """
    trained = load(folder, device)
    settings = Settings.read(folder / "settings.json")
    corpus = prepare(data or settings.data_source, field=field)
    if data is None and corpus.sha256 != settings.data_sha256:
        raise UserError(f"{settings.data_source}: not the text that {folder} was trained on; name it with --data")
    splits = tuple(corpus.splits) if split == "all" else (split,)
    documents = [d for name in splits for d in corpus.select(name, max_bytes, EXCERPT_BYTES)]
    units = documents
    if joined:
        units = [_joined(documents, trained.recipe.separator)]
        documents = [_joined(documents, NUL)]
    own = context_bytes(settings.window, settings.level)
    context = context or own
    hard = score(trained.model, units, context, trained.tokenizer)
    interval = bpb_interval(hard.nats, hard.bytes)
    text = Scored(corpus.name, corpus.sha256, split, len(documents), int(hard.bytes.sum()), context)
    lines = baselines(corpus.splits["train"], documents)
    return {
        "folder": str(folder),
        "run": settings.run,
        "corpus": to_json(text) | {"joined": joined},
        **headline_figures(hard),
        "bpb_interval": [interval.low, interval.high],
        "gate": to_json(_gate(trained, hard, units, context)),
        "baselines": to_json(lines),
    }


def _joined(documents: list[NDArray[np.uint8]], between: int) -> NDArray[Any]:
    """One array of bytes, or of wider units where the separator `between` two documents is none."""
    separator = np.array([between], np.uint8 if between == NUL else np.int16)
    return np.concatenate([part for document in documents for part in (document, separator)][:-1])


def headline_figures(scored: Score) -> dict[str, float]:
    """The columns of the original's card. BPB and Δ uniform are per byte of text for token runs, too."""
    return {
        "val_loss": scored.loss,
        "ppl": float(np.exp(min(scored.loss, 700.0))),
        "bpb": scored.bpb,
        "window_bpb": scored.bpb,
        "delta_uniform": scored.bpb * float(np.log(2)) - float(np.log(256)),
    }


def by_position(scored: Score) -> Positions:
    """Bits per byte by the position of the byte in its window: in the first four, the next four, eight, sixteen, ..."""
    length = len(scored.units_at)
    starts = [0, *(4 << i for i in range(length.bit_length()) if 4 << i < length and scored.units_at[4 << i])]
    nats, units = np.add.reduceat(scored.nats_at, starts), np.add.reduceat(scored.units_at, starts)
    return Positions(tuple(starts), tuple((nats / units / np.log(2)).tolist()))


def print_evaluation(result: dict[str, Any]) -> None:
    """The figures of `evaluate_text` as a table."""
    text = result["corpus"]
    console = open_console()
    borders = "joined" if text["joined"] else "documents apart"
    console.print(
        f"{result['folder']} on {text['name']} ({text['split']}: {text['documents']} documents, "
        f"{text['bytes']:,} bytes, context {text['context']:,} bytes, {borders})",
        highlight=False,
    )
    table = Table("", "bits per byte", "", box=None, header_style="bold")
    low, high = result["bpb_interval"]
    table.add_row(
        f"run_{result['run']}", f"{result['bpb']:.4f}", f"95% [{low:.4f}, {high:.4f}]" if low is not None else ""
    )
    if gate := result["gate"]:
        table.add_row("  gate soft", f"{gate['soft_bpb']:.4f}", "")
        table.add_row("  gate hard", f"{gate['hard_bpb']:.4f}", f"{gate['deletion_rate']:.1%} of patches deleted")
    for name, line in result["baselines"].items():
        table.add_row(name, f"{line['bpb']:.4f}", line["note"])
    console.print(table)
    console.print(
        f"val loss {result['val_loss']:.4f} nats a unit   PPL {result['ppl']:.3f}   "
        f"Δ uniform {result['delta_uniform']:+.4f} nats a byte",
        highlight=False,
    )


def frequency_bpb(corpus: Corpus, documents: list[NDArray[np.uint8]]) -> float:
    """Bits per byte of these documents by the training split's byte frequencies alone."""
    counts = corpus.byte_counts + 0.5
    bits = -np.log2(counts / counts.sum())
    return float(sum(bits[d].sum() for d in documents) / sum(len(d) for d in documents))


def _gate(trained: Trained, hard: Score, documents: list[NDArray[np.uint8]], context: int) -> Gate | None:
    """Bits per byte with the soft and the hard gate (the latter is deployed); None without a gate."""
    gate = trained.recipe.gate
    if gate is None or hard.deleted is None:
        return None
    soft = score(trained.model, documents, context, trained.tokenizer, hard=False)
    return Gate(soft.bpb, hard.bpb, hard.deleted, gate.target)


def generation_test(
    trained: Trained, documents: list[NDArray[np.uint8]], reference: list[NDArray[np.uint8]]
) -> Generation:
    """The generation test of a sample that continues the first of `documents`, against the texts of `reference`."""
    prompt = bytes(documents[0][:PROMPT_BYTES])
    sample = continuation(trained, prompt, SAMPLE_BYTES, Sampling(temperature=0.8, top_p=0.95))
    verdict = generation.judge(sample, reference)
    prompt_text, sample_text = (text.decode(errors="replace") for text in (prompt, sample))
    return Generation(**vars(verdict), prompt=prompt_text, sample=sample_text)
