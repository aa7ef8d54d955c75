"""Short training jobs: their settings, how to interrupt them, and what they leave."""

import multiprocessing
import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from cpu1.training.job import Job, train
from cpu1.training.loop import Interrupted

SHORT = (("steps", 12), ("batch", 2), ("window", 64))


def stop_at(step: int) -> Callable[[Any], None]:
    """A report that sends SIGINT after `step`, as Ctrl-C would."""

    def report(line: Any) -> None:
        if isinstance(line, dict) and line["step"] == step:
            os.kill(os.getpid(), signal.SIGINT)

    return report


def train_apart(job: Job, step: int | None = None) -> int:
    """Trains in a process of its own, to the end or until `step`; its exit status."""
    process = multiprocessing.get_context("spawn").Process(target=_train, args=(job, step))
    process.start()
    process.join()
    assert process.exitcode is not None
    return process.exitcode


def _train(job: Job, step: int | None) -> None:
    try:
        train(job, stop_at(step) if step else lambda _: None)
    except Interrupted:
        sys.exit(130)


def weights(folder: Path) -> bytes:
    """The bytes of a finished run's weights file."""
    return (folder / "model.safetensors").read_bytes()
