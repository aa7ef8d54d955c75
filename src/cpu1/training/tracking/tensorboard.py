"""TensorBoard: events in the folder `tensorboard`. Events of several processes of a run are shown as one run."""

from collections.abc import Mapping

from cpu1.training.tracking.tracker import Run, State


class TensorBoard:
    """See `tracker.Tracker`."""

    id = "tensorboard"

    def __init__(self, run: Run) -> None:
        from torch.utils.tensorboard import SummaryWriter

        self._writer = SummaryWriter(str(run.folder / "tensorboard"))

    def log(self, step: int, figures: Mapping[str, float]) -> None:
        """Writes figures, which a viewer sees at once."""
        for name, value in figures.items():
            self._writer.add_scalar(name, value, step)
        self._writer.flush()

    def end(self, state: State) -> None:
        """Closes the file."""
        self._writer.close()


start = TensorBoard
