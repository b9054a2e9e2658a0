"""MLflow, or `mlflow-skinny`: MLFLOW_TRACKING_URI and MLFLOW_EXPERIMENT_NAME say where to."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar

from compressor.tracking.base import Tracker

_LONGEST = 500
"""Characters of a parameter that every store takes."""


class MlflowTracker(Tracker):
    """A run of MLflow: the active one where there is one, which then stays open."""

    name: ClassVar[str] = "mlflow"
    package: ClassVar[str] = "mlflow"

    def __init__(self) -> None:
        """Import the package, which reads its environment."""
        import mlflow  # noqa: PLC0415 - an extra

        self._mlflow: Any = mlflow
        self._own = False

    def begin(self, name: str) -> None:
        """Open a run, unless one is active."""
        self._own = self._mlflow.active_run() is None
        if self._own:
            self._mlflow.start_run(run_name=name)

    def params(self, values: Mapping[str, str]) -> None:
        """What was asked for."""
        self._mlflow.log_params({key: text[:_LONGEST] for key, text in values.items()})

    def metrics(self, values: Mapping[str, float], step: int | None = None) -> None:
        """Figures."""
        self._mlflow.log_metrics(dict(values), step=step)

    def text(self, name: str, content: str) -> None:
        """A file of text."""
        self._mlflow.log_text(content, name)

    def artifact(self, path: Path) -> None:
        """A file."""
        self._mlflow.log_artifact(str(path))

    def end(self) -> str:
        """Close the run, if it is ours."""
        run = self._mlflow.active_run()
        where = f"run {run.info.run_id} in {self._mlflow.get_tracking_uri()}"
        if self._own:
            self._mlflow.end_run()
        return where


TRACKER = MlflowTracker
