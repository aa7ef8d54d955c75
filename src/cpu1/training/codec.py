"""A model of short messages: each is a document, so that the model knows how messages begin and end."""

import json
import shutil
from collections.abc import Sequence
from pathlib import Path

from cpu1.errors import UserError
from cpu1.files import write_atomic
from cpu1.format import container
from cpu1.messages.codec import MARK
from cpu1.training.job import Job, Report, train
from cpu1.training.plan import Budget

EVAL_BYTES = 1 << 16
SCRATCH = ("04", "nano")  # run and scale of a model from nothing


def train_codec(
    messages: Sequence[bytes],
    out: Path,
    start: Path | None,
    minutes: float,
    threads: int | None = None,
    report: Report = lambda _: None,
) -> int:
    """Writes a packed model trained on messages for `minutes`, from the weights of `start`; returns the file's size.

    Without `start`, a nano model is trained from nothing. Until it is done, OUT.run is the folder of the run and
    OUT.run.jsonl its text: when interrupted, the same call goes on. Bytes that are not UTF-8 are not learned. Raises
    UserError as training does.
    """
    folder, text = (out.with_name(f"{out.name}.run{end}") for end in ("", ".jsonl"))
    lines = (json.dumps({"text": message.decode("utf-8", "replace")}) + "\n" for message in messages)
    write_atomic(text, "".join(lines))
    run, scale = (None, None) if start else SCRATCH
    job = Job(
        run=run,
        folder=folder,
        scale=scale,
        start=start,
        budget=Budget(minutes=minutes),
        data=str(text),
        threads=threads,
        eval_bytes=EVAL_BYTES,
    )
    train(job, report)
    size = mark(folder / "model.cpu1", out)
    shutil.rmtree(folder)
    text.unlink()
    return size


def mark(source: Path, out: Path) -> int:
    """Writes a packed file as one of a model that was trained on messages, atomically; returns its size."""
    tensors, metadata = container.read(source.read_bytes())
    about = container.strict_json(metadata["cpu1"])
    about["run"][MARK] = True
    text = json.dumps(about, separators=(",", ":"), ensure_ascii=False, allow_nan=False)
    data = container.write(tensors, {**metadata, "cpu1": text})
    try:
        write_atomic(out, data)
    except OSError as error:
        raise UserError(f"{out}: not writable ({error.strerror})") from None
    return len(data)
