"""The local files that the tasks in tasks/ read, as the harness wants them, and what a task counts itself.

The harness hands over its `--metadata`, which holds the names of the files, and a task's own `dataset_kwargs`.
"""

import json
from functools import cache
from pathlib import Path
from typing import Any

from datasets import Dataset

from cpu1.errors import UserError
from cpu1.evaluation.language.blimp import Pair, read_pairs
from cpu1.evaluation.language.lambada import is_written, read_passages
from cpu1.evaluation.language.reading import json_lines, text_chunks

Rows = dict[str, Dataset]

#: what each key of the metadata holds, which is an option of `cpu1 lm-eval`, and the tasks that read it
FILES = {
    "blimp": ("cpu1_blimp",),
    "lambada": ("cpu1_lambada", "cpu1_lambada_written"),
    "endings": ("cpu1_endings",),
    "text": ("cpu1_text",),
}
TASKS = Path(__file__).parent / "tasks"


def blimp(uid: str, blimp: str = "", **_: object) -> Rows:
    """The pairs of one paradigm, the good sentence second: equal likelihoods are wrong, as in `cpu1 check`."""
    pairs = [pair for pair in _pairs(_named(blimp, "blimp")) if pair.uid == uid]
    if not pairs:
        raise UserError(f"{blimp}: no pair with uid {uid!r}; all 67 of BLiMP are needed, or a task of your own")
    return _rows(blimp, [{"choices": [pair.bad.decode(), pair.good.decode()]} for pair in pairs])


def lambada(lambada: str = "", **_: object) -> Rows:
    """Passages, cut before the blank of their last word."""
    passages = read_passages(_named(lambada, "lambada"))
    return _rows(lambada, [{"context": p.context.decode(), "target": p.target.decode()} for p in passages])


def last_word(doc: dict[str, Any], results: list[str]) -> dict[str, float]:
    """Whether the model wrote the last word of a passage, and ended it there."""
    return {"acc": float(is_written(results[0].encode(), doc["target"].encode()))}


def endings(endings: str = "", **_: object) -> Rows:
    """Contexts with several endings, of which `label` is the number of the right one."""
    path = _named(endings, "endings")
    return _rows(endings, [_ending(row, where) for where, row in json_lines(path)])


def text(text: str = "", **_: object) -> Rows:
    """Documents: the `text` of JSON lines, or a whole file of any other kind."""
    path = _named(text, "text")
    if ".jsonl" in path.suffixes:
        return _rows(text, [{"text": str(row.get("text", ""))} for _, row in json_lines(path)])
    return _rows(text, [{"text": b"".join(text_chunks(text)).decode()}])


def _ending(row: dict[str, Any], where: str) -> dict[str, Any]:
    context, choices, label = row.get("context", row.get("ctx")), row.get("endings"), row.get("label")
    if not isinstance(context, str) or not isinstance(choices, list) or not all(isinstance(c, str) for c in choices):
        raise UserError(f"{where}: needs a context, a list of endings, and the label of the right one")
    if not str(label).isdecimal() or int(str(label)) >= len(choices):
        raise UserError(f"{where}: 'label' is {label!r}; it is the number of an ending, from 0 to {len(choices) - 1}")
    return {"context": context, "endings": choices, "label": int(str(label))}


@cache
def _pairs(path: Path) -> list[Pair]:
    """Read once for the 67 tasks of BLiMP."""
    return read_pairs(path)


def _named(name: str, key: str) -> Path:
    if not name:
        raise UserError(f"{' and '.join(FILES[key])} read a file: cpu1 lm-eval --{key} FILE")
    return Path(name)


def _rows(name: str, rows: list[dict[str, Any]]) -> Rows:
    try:
        return {"test": Dataset.from_list(json.loads(json.dumps(rows)))}
    except UnicodeError:
        raise UserError(f"{name}: has text that is not Unicode") from None
