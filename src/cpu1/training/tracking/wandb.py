"""Weights & Biases: files in the folder `wandb`, for `wandb sync`. WANDB_MODE=online sends them at once."""

import os
from collections.abc import Mapping
from uuid import uuid4

from cpu1.training.tracking.tracker import Run, State


class Wandb:
    """See `tracker.Tracker`."""

    def __init__(self, run: Run) -> None:
        import wandb

        self.id = run.id or uuid4().hex[:8]
        # only what training measures: no code, no figures of the machine, no output
        settings = wandb.Settings(
            silent=True, console="off", disable_git=True, disable_code=True, x_disable_meta=True, x_disable_stats=True
        )
        self._run = wandb.init(
            project=run.project,
            name=run.name,
            id=self.id,
            resume="allow",
            mode=None if "WANDB_MODE" in os.environ else "offline",
            dir=run.folder,
            config=run.config,
            settings=settings,
        )

    def log(self, step: int, figures: Mapping[str, float]) -> None:
        """Writes figures."""
        self._run.log(dict(figures), step=step)

    def end(self, state: State) -> None:
        """Ends the run; one that was interrupted is a failed one, until it goes on."""
        self._run.finish(exit_code=0 if state == "finished" else 1)


start = Wandb
