"""Python in a process of its own: what native code does there, this process survives.

It ends with this one, even where that is killed.
"""

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import Enum, auto
from pathlib import Path

POLL = 0.1
"""Seconds between two looks at a process."""
GRACE = 2.0
"""Seconds that a process has to end by itself once it was asked to."""


class Cause(Enum):
    """What became of a process that did not end well."""

    NOT_STARTED = auto()
    OUT_OF_TIME = auto()
    SIGNAL = auto()
    EXIT_CODE = auto()


@dataclass(frozen=True)
class Failure:
    """How a process failed.

    Attributes:
        cause: What became of it.
        words: The cause and its details, to follow "the process".
    """

    cause: Cause
    words: str

    def __str__(self) -> str:
        return self.words


def run_python(
    arguments: Sequence[str], *, timeout: float, poll: Callable[[], object] | None = None
) -> Failure | None:
    """Run this interpreter with what the caller can import, and without its working directory.

    Args:
        arguments: What follows the interpreter: `-m` and a module, or a script, and its arguments.
        timeout: Seconds after which the process is ended.
        poll: Called a few times a second while it runs.

    Returns:
        None when it ended well; else what became of it.

    Raises:
        KeyboardInterrupt: The caller was interrupted. The process was asked to end, and was ended.
    """
    # -P: the working directory may hold a user's own calibration.py, which is not ours.
    starter = ["-m", "compressor.system.with_parent", str(os.getpid())]
    command = [sys.executable, "-P", *starter, *arguments]
    with tempfile.TemporaryFile() as errors:
        try:
            # In a session of its own it does not see the terminal's Ctrl-C: this process tells it.
            process = subprocess.Popen(
                command,
                env=_environment(),
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=errors,
                start_new_session=True,
            )
        except OSError as error:
            return Failure(Cause.NOT_STARTED, f"did not start: {error}")
        try:
            _wait(process, timeout, poll)
        except subprocess.TimeoutExpired:
            return Failure(Cause.OUT_OF_TIME, f"took more than {timeout:g} s")
        finally:
            _end(process)
        if process.returncode == 0:
            return None
        if process.returncode < 0:
            return Failure(Cause.SIGNAL, f"was ended by signal {-process.returncode}")
        errors.seek(0)
        lines = errors.read().decode(errors="replace").strip().splitlines()
    said = lines[-1] if lines else "it said nothing"
    return Failure(Cause.EXIT_CODE, f"failed with code {process.returncode}: {said[:300]}")


def _wait(
    process: subprocess.Popen[bytes], timeout: float, poll: Callable[[], object] | None
) -> None:
    """Until it ends, or the time is over.

    Raises:
        subprocess.TimeoutExpired: The time is over.
    """
    if poll is None:
        process.wait(timeout)
        return
    until = time.monotonic() + timeout
    while True:
        try:
            process.wait(min(POLL, max(0.0, until - time.monotonic())))
        except subprocess.TimeoutExpired:
            if time.monotonic() >= until:
                raise
        else:
            poll()
            return
        poll()


def _end(process: subprocess.Popen[bytes]) -> None:
    """Ask a process that still runs to end; after a while it is killed."""
    if process.poll() is not None:
        return
    process.terminate()
    try:
        process.wait(GRACE)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def _environment() -> dict[str, str]:
    """The child finds every module where this process finds it, in the same order."""
    places = [entry or str(Path.cwd()) for entry in sys.path]
    return {**os.environ, "PYTHONPATH": os.pathsep.join(places)}
