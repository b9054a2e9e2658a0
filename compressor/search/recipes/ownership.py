"""Which process works on a folder or on a trial, and whether it still lives."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psutil

from compressor.errors import OutputError
from compressor.system.hardware import processor

if TYPE_CHECKING:
    from optuna.trial import FrozenTrial

LOCK = "search.pid"
OWNER = "owner"
"""The attribute of a trial that names the process at it."""
LOST = timedelta(hours=1)
"""A trial of another machine that has run so long, and ten times the longest, counts as killed."""


@contextmanager
def held(folder: Path) -> Iterator[None]:
    """The folder is searched by this process alone; others join by a database.

    Raises:
        OutputError: Another process that lives is at it.
    """
    lock = folder / LOCK
    try:
        other = int(lock.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        other = None
    if other is not None and other != os.getpid() and _is_search(other):
        raise OutputError(
            f"{folder} is being searched by process {other}",
            hint="Wait for it, or let both join one study: --storage URL, each with an -o of its "
            "own.",
        )
    lock.write_text(str(os.getpid()), encoding="utf-8")
    try:
        yield
    finally:
        lock.unlink(missing_ok=True)


def owner() -> dict[str, Any]:
    """This process, as a trial keeps it."""
    process = psutil.Process()
    return {"host": socket.gethostname(), "pid": process.pid, "since": process.create_time()}


def is_lost(trial: FrozenTrial, longest: float) -> bool:
    """Whether the process that was at a trial is gone.

    Args:
        trial: It has not ended.
        longest: Seconds of the longest that has.
    """
    by = trial.user_attrs.get(OWNER)
    if by is not None and by["host"] == socket.gethostname():
        if by["pid"] == os.getpid():
            return True  # of an earlier call, which an error ended
        try:
            other = psutil.Process(by["pid"])
            return bool(abs(other.create_time() - by["since"]) > 1.0)
        except psutil.NoSuchProcess:
            return True
    began = trial.datetime_start
    if by is None and began is None:
        return True
    most = max(LOST, timedelta(seconds=10 * longest))
    return began is not None and datetime.now() - began > most


def _is_search(pid: int) -> bool:
    """Whether a process runs, and is Python: numbers are used again."""
    try:
        return "python" in psutil.Process(pid).name() or "compress" in psutil.Process(pid).name()
    except psutil.Error:
        return False


def machine_words() -> str:
    """This host and its processor."""
    return f"{socket.gethostname()}, {processor()}"
