"""What a path that does not exist may have meant."""

import difflib
from pathlib import Path

_NAMED = 3


def did_you_mean(path: Path) -> str | None:
    """A question that names what is there and is written alike, in the same folder or near it.

    If a path's folder is missing too, the first part that does not exist is looked up.

    Returns:
        For a hint; None where nothing comes close.
    """
    missing = path
    while missing != missing.parent and not missing.parent.is_dir():
        missing = missing.parent
    try:
        names = [found.name for found in missing.parent.iterdir()]
    except OSError:
        return None
    close = difflib.get_close_matches(missing.name, names, n=_NAMED)
    rest = path.relative_to(missing)
    found = [str(missing.with_name(name) / rest) for name in close]
    if missing != path:  # only a folder in which the rest is there
        found = [place for place in found if Path(place).exists()]
    return f"Did you mean {' or '.join(found)}?" if found else None
