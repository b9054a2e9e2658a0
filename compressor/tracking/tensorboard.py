"""TensorBoard: event files in TENSORBOARD_LOGDIR, else in `runs/`."""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar

from compressor.tracking.base import Tracker


class TensorboardTracker(Tracker):
    """Scalars and texts in event files; files themselves are only named, as they cannot be kept."""

    name: ClassVar[str] = "tensorboard"
    package: ClassVar[str] = "tensorboardX"

    def __init__(self) -> None:
        """Import the package."""
        import tensorboardX  # noqa: PLC0415 - an extra

        self._package: Any = tensorboardX
        self._writer: Any = None
        self._files: list[str] = []

    def begin(self, name: str) -> None:
        """Open an event file in a folder of the run."""
        folder = Path(os.environ.get("TENSORBOARD_LOGDIR") or "runs")
        self._writer = self._package.SummaryWriter(logdir=str(folder / name))

    def params(self, values: Mapping[str, str]) -> None:
        """A table of what was asked for."""
        rows = "\n".join(f"| {key} | {text} |" for key, text in sorted(values.items()))
        self._writer.add_text("parameters", f"| option | value |\n|---|---|\n{rows}")

    def metrics(self, values: Mapping[str, float], step: int | None = None) -> None:
        """Scalars."""
        for key, value in values.items():
            self._writer.add_scalar(key, value, step or 0)

    def text(self, name: str, content: str) -> None:
        """A text."""
        self._writer.add_text(name, content)

    def artifact(self, path: Path) -> None:
        """Where the file lies."""
        self._files.append(str(path))

    def end(self) -> str:
        """Write all of it."""
        self._writer.add_text("files", "\n".join(f"- {name}" for name in self._files))
        where = str(self._writer.logdir)
        self._writer.close()
        return where


TRACKER = TensorboardTracker
