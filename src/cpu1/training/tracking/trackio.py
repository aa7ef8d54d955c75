"""trackio: a database in the folder `trackio`, for `trackio show`. TRACKIO_DIR names another folder."""

import io
import os
from collections.abc import Mapping
from contextlib import redirect_stdout
from uuid import uuid4

from cpu1.training.tracking.tracker import Run, State


def _quiet() -> redirect_stdout[io.StringIO]:
    """trackio prints how to see what it has, where a progress bar is."""
    return redirect_stdout(io.StringIO())


class Trackio:
    """See `tracker.Tracker`."""

    def __init__(self, run: Run) -> None:
        os.environ.setdefault("TRACKIO_DIR", str((run.folder / "trackio").absolute()))  # which its import reads
        import trackio

        self.id = run.id or f"{run.name}-{uuid4().hex[:6]}"
        with _quiet():
            self._run = trackio.init(
                run.project,
                self.id,
                resume="allow",
                config=run.config,
                embed=False,
                auto_log_gpu=False,
                auto_log_cpu=False,
            )

    def log(self, step: int, figures: Mapping[str, float]) -> None:
        """Writes figures."""
        self._run.log(dict(figures), step=step)

    def end(self, state: State) -> None:
        """Waits until all is written."""
        import trackio

        with _quiet():
            trackio.finish()


start = Trackio
