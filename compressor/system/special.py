"""Names that are no files: opening a pipe waits for a writer, and devices never end."""

import stat
from pathlib import Path

_KINDS = (
    (stat.S_ISFIFO, "a named pipe"),
    (stat.S_ISCHR, "a device"),
    (stat.S_ISBLK, "a device"),
    (stat.S_ISSOCK, "a socket"),
)


def why_no_file(path: Path) -> str | None:
    """What a path is that cannot be read as a file can; None for files, folders and nothing."""
    try:
        mode = path.stat().st_mode
    except (OSError, ValueError):
        return None  # whoever opens it says why not
    return next((what for is_one, what in _KINDS if is_one(mode)), None)
