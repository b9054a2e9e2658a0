"""What a tracker is asked for: parameters, metrics, texts, and files of a run."""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from pathlib import Path
from typing import ClassVar


class Tracker(ABC):
    """Where a run is logged. A file of this package ends in `TRACKER = ...`, a class of these.

    It logs to where its package is configured to log: environment variables, its own files.
    """

    name: ClassVar[str]
    """As `--track` has it."""
    package: ClassVar[str]
    """What has to be installed: the extra of the same name brings it."""

    @abstractmethod
    def begin(self, name: str) -> None:
        """Open a run of this name, or go on with one that is active."""

    @abstractmethod
    def params(self, values: Mapping[str, str]) -> None:
        """What was asked for."""

    @abstractmethod
    def metrics(self, values: Mapping[str, float], step: int | None = None) -> None:
        """Figures; those of a candidate are of a step."""

    @abstractmethod
    def text(self, name: str, content: str) -> None:
        """A report, as text."""

    @abstractmethod
    def artifact(self, path: Path) -> None:
        """A file."""

    @abstractmethod
    def end(self) -> str:
        """Close the run; returns where it lies, in words."""
