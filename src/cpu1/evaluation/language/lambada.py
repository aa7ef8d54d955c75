"""LAMBADA: does a model know the last word of a passage? (Paperno et al., arXiv 1606.06031)

A passage is read up to the blank before its last word. Then the model writes greedily, unit by unit. Its answer is
right when it begins with that blank and the word, byte for byte, and the word ends there: the next byte is no letter,
digit, apostrophe or byte above 127, or the document ends. `begun` does not require the end of the word: it counts
"sign" where the model writes "signs".

The cost of the last word is -log2 p of its bytes and of the blank before them; perplexity is 2 to the mean cost.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from cpu1.errors import UserError
from cpu1.evaluation.language.reading import records
from cpu1.evaluation.language.work import CheckProgress, in_blocks
from cpu1.evaluation.statistics import share_interval
from cpu1.runtime.model import Model
from cpu1.runtime.sampling import Sampler, Sampling

LAST_WORD = re.compile(r"(.*\S)(\s+\S+)\s*", re.DOTALL)
BLOCK = 20  # passages that one session reads: a second at most, after which Ctrl-C is heard
WORD_CONTINUES = re.compile(rb"[A-Za-z0-9'\x80-\xff]")


@dataclass(frozen=True)
class Passage:
    """A text cut before the blank of its last word."""

    context: bytes
    target: bytes  # the blank and the last word


@dataclass(frozen=True)
class Answer:
    """How a model continued a passage."""

    begun: bool  # the greedy text begins with the target
    right: bool  # and the word ends there
    bits: float  # of the target


def read_passages(path: str | Path, limit: int | None = None) -> list[Passage]:
    """The first `limit` passages of a file. UserError for a line without text of two words at least."""
    passages: list[Passage] = []
    for row in records(Path(path), {"text": "text"}):
        if limit is not None and len(passages) == limit:
            break
        parts = LAST_WORD.fullmatch(row["text"])
        if parts is None:
            raise UserError(f"{path}: {row['text']!r} has no word before its last one")
        context, target = (part.encode("utf-8", "surrogatepass") for part in parts.groups())
        passages.append(Passage(context, target))
    return passages


def check(
    model: Model, passages: Sequence[Passage], threads: int = 1, progress: CheckProgress | None = None
) -> dict[str, Any]:
    """The share of right last words with Wilson's 95% interval, and their mean cost."""
    answers = list(in_blocks(lambda block: answer(model, block), passages, threads, progress, BLOCK))
    right = sum(a.right for a in answers)
    bits = np.array([a.bits for a in answers])
    return {
        "accuracy": right / len(answers),
        "interval": list(share_interval(right, len(answers))),
        "begun": sum(a.begun for a in answers) / len(answers),
        "passages": len(answers),
        "bits_per_word": float(bits.mean()),
        "perplexity": float(np.exp2(min(bits.mean(), 1000.0))),
        "bits_per_byte": float(bits.sum() / sum(len(p.target) for p in passages)),
    }


def answer(model: Model, passages: Sequence[Passage]) -> list[Answer]:
    """The model's answer to each passage."""
    stream = model.units()
    start = stream.state
    answers = []
    for passage in passages:
        stream.state = start
        stream.advance(model.encode(passage.context))
        before = stream.state
        bits = float(stream.score(model.encode(passage.target)).sum() / np.log(2))
        stream.state = before
        size = len(passage.target) + 1  # units: a unit is a byte at least
        text = model.decode(stream.generate(size, Sampler(Sampling(temperature=0))))
        answers.append(Answer(text.startswith(passage.target), is_written(text, passage.target), bits))
    return answers


def is_written(text: bytes, target: bytes) -> bool:
    """Whether a text begins with the target, and the word ends there."""
    return text.startswith(target) and not WORD_CONTINUES.match(text, len(target))
