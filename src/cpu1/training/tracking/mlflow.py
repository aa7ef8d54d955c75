"""MLflow: a database `mlflow.db` in the folder, for `mlflow ui`. MLFLOW_TRACKING_URI names another one, or a server."""

import os
import time
from collections.abc import Mapping

from cpu1.training.tracking.tracker import Run, State

ENDED = {"finished": "FINISHED", "interrupted": "KILLED", "failed": "FAILED"}
LONGEST = 6000  # characters of a parameter


class Mlflow:
    """See `tracker.Tracker`."""

    def __init__(self, run: Run) -> None:
        os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
        from mlflow.entities import Param
        from mlflow.tracking import MlflowClient

        database = f"sqlite:///{(run.folder / 'mlflow.db').absolute()}"
        self._client = MlflowClient(os.environ.get("MLFLOW_TRACKING_URI", database))
        if run.id is not None:
            self.id = run.id
            self._client.update_run(self.id, status="RUNNING")
            return
        found = self._client.get_experiment_by_name(run.project)
        files = (run.folder / "mlflow").absolute().as_uri()
        experiment = found.experiment_id if found else self._client.create_experiment(run.project, files)
        self.id = self._client.create_run(experiment, run_name=run.name).info.run_id
        parameters = [Param(name, str(value)[:LONGEST]) for name, value in run.config.items()]
        self._client.log_batch(self.id, params=parameters)

    def log(self, step: int, figures: Mapping[str, float]) -> None:
        """Writes figures."""
        from mlflow.entities import Metric

        now = int(time.time() * 1000)
        self._client.log_batch(self.id, [Metric(name, value, now, step) for name, value in figures.items()])

    def end(self, state: State) -> None:
        """Notes how the run ended."""
        self._client.set_terminated(self.id, ENDED[state])


start = Mlflow
