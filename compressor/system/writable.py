"""Whether files can be written to a folder, found out by writing one."""

import os
import shutil
import tempfile
from pathlib import Path


def why_not_writable(folder: Path, room: int = 0) -> str | None:
    """Why nothing can be written to a folder; None where it can.

    Folders that are missing are not made: the nearest that exists is asked. Permissions alone do
    not tell, as the file system may be read-only, full, or of another mind.

    Args:
        folder: Where something is to be written.
        room: How many bytes, at least.
    """
    place = folder.absolute()
    while not place.exists() and place != place.parent:
        place = place.parent
    if not place.is_dir():
        return f"{place} is a file, and no folder"
    try:
        with tempfile.TemporaryFile(dir=place) as file:
            file.write(bytes(4096))
        free = shutil.disk_usage(place).free
    except OSError as error:
        return f"{place}: {error.strerror or error}"
    if free < room:
        return f"{place} has {free / 1e6:,.0f} MB left, and {room / 1e6:,.0f} MB are needed"
    return None


def bytes_of(path: Path) -> int:
    """Size of a file, or of all files right in a folder; 0 where it does not exist."""
    try:
        files = os.scandir(path) if path.is_dir() else [path]
        return sum(Path(file).stat().st_size for file in files if Path(file).is_file())
    except OSError:
        return 0
