"""How far a stage has come, told without printing.

A stage that takes a `Progress` reports through it; who shows it, and where, is the caller's
business. The default everywhere is `SILENT`.

    with progress.stage("calibrate", total=512) as advance:
        for batch in batches:
            ...
            advance(len(batch))
"""

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import Protocol

Advance = Callable[[int], None]
"""Called with the number of units done since the last call, never with the running total."""


class Progress(Protocol):
    """Where stages say that they have begun, how far they are and that they have ended."""

    def stage(self, name: str, total: int | None = None) -> AbstractContextManager[Advance]:
        """Open one stage; it ends with the context, also when an exception leaves it.

        Args:
            name: What is being done, as an imperative: "calibrate". Stages may be nested.
            total: How many units there are, None when that is not known beforehand.
        """
        ...

    def notice(self, text: str) -> None:
        """Say something at once that the user may want to act on before the run ends."""
        ...


def tell(progress: Progress, candidate: object) -> None:
    """Say that something was judged, to a `Progress` that wants to know."""
    told = getattr(progress, "candidate", None)
    if told is not None:
        told(candidate)


def say(progress: Progress, text: str) -> None:
    """Say how far a run has come, which asks nothing of the user; what does is a notice.

    A `Progress` that makes warnings of notices has a `say` of its own; others show both alike.
    """
    getattr(progress, "say", progress.notice)(text)


class Silent:
    """The `Progress` of a library call: nothing is shown."""

    def stage(self, name: str, total: int | None = None) -> AbstractContextManager[Advance]:
        """Do nothing but satisfy the protocol."""
        return nullcontext(_ignore)

    def notice(self, text: str) -> None:
        """The report says it, too."""


def _ignore(units: int) -> None:
    """Discard what was counted."""


SILENT: Progress = Silent()
"""Shared, as it has no state."""
