"""Weights & Biases: WANDB_PROJECT, WANDB_MODE and its other variables say where to."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar

from compressor.tracking.base import Tracker


class WandbTracker(Tracker):
    """A run of wandb: the active one where there is one, which then stays open."""

    name: ClassVar[str] = "wandb"
    package: ClassVar[str] = "wandb"

    def __init__(self) -> None:
        """Import the package."""
        import wandb  # noqa: PLC0415 - an extra

        self._wandb: Any = wandb
        self._run: Any = None
        self._artifact: Any = None
        self._own = False

    def begin(self, name: str) -> None:
        """Open a run, unless one is active."""
        self._own = self._wandb.run is None
        self._run = self._wandb.init(name=name) if self._own else self._wandb.run
        self._artifact = self._wandb.Artifact(name, type="model")

    def params(self, values: Mapping[str, str]) -> None:
        """The configuration of the run."""
        self._run.config.update(dict(values))

    def metrics(self, values: Mapping[str, float], step: int | None = None) -> None:
        """Figures."""
        more = {} if step is None else {"candidate": step}
        self._run.log({**values, **more})

    def text(self, name: str, content: str) -> None:
        """A file of text within the artifact."""
        with self._artifact.new_file(name, mode="w") as file:
            file.write(content)

    def artifact(self, path: Path) -> None:
        """A file within the artifact."""
        self._artifact.add_file(str(path))

    def end(self) -> str:
        """Send the artifact, and close the run if it is ours."""
        self._run.log_artifact(self._artifact)
        where = str(getattr(self._run, "url", None) or self._run.dir)
        if self._own:
            self._run.finish()
        return where


TRACKER = WandbTracker
