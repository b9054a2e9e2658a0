"""Folders for what a process needs for a while, which are gone afterwards, whatever ends it.

A process that is killed removes nothing. Each folder is locked by the process that made it, and the
lock ends with that: what is not locked was left behind, and the next run removes it.
"""

import os
import re
import shutil
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import cache
from pathlib import Path

PREFIX = "compressor-scratch-"
MOMENT = 1.0
"""Seconds in which whoever makes a folder has locked it."""
_NAME = re.compile(re.escape(PREFIX) + "[a-z0-9_]{8}")
"""As `tempfile` completes it: no folder of somebody else's is called so."""


@contextmanager
def scratch(beside: Path | None = None) -> Iterator[str]:
    """A folder that lasts as long as the block.

    Args:
        beside: Where it is made; None for the system's place for such.

    Raises:
        OSError: It cannot be made.
    """
    folder, lock = locked_folder(beside)
    try:
        yield str(folder)
    finally:
        remove(folder, lock)


def locked_folder(beside: Path | None = None) -> tuple[Path, int | None]:
    """A folder that lasts until `remove`, and its lock.

    Raises:
        OSError: It cannot be made.
    """
    place = Path(tempfile.gettempdir() if beside is None else beside).absolute()
    _sweep(place)
    folder = Path(tempfile.mkdtemp(prefix=PREFIX, dir=place))
    return folder, _locked(folder)


def remove(folder: Path, lock: int | None) -> None:
    """Take away a folder of `locked_folder`."""
    shutil.rmtree(folder, ignore_errors=True)
    if lock is not None:
        with suppress(OSError):
            os.close(lock)


@cache
def _sweep(place: Path) -> None:
    """Remove what processes left that are gone; once a process for each place."""
    with suppress(OSError):
        for path in list(place.iterdir()):
            if _NAME.fullmatch(path.name) and _is_left(path):
                lock = _locked(path)
                if lock is not None:
                    remove(path, lock)


def _is_left(path: Path) -> bool:
    """Whether a folder may be one that was left: ours, and not of a moment ago, unlocked as yet."""
    with suppress(OSError):
        told = path.lstat()
        is_own = sys.platform != "win32" and told.st_uid == os.getuid()
        return is_own and time.time() - told.st_mtime > MOMENT
    return False


def _locked(folder: Path) -> int | None:
    """A lock of the folder; None where another process has it, or there are no such locks."""
    if sys.platform == "win32":
        return None
    import fcntl  # noqa: PLC0415 - does not exist on Windows

    try:
        lock = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
    except OSError:
        return None
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(lock)
        return None
    return lock
