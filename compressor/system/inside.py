"""Names in files that mean other files of the same folder, and must not lead out of it."""

from pathlib import Path, PurePosixPath, PureWindowsPath

_HUB = "models--"
"""Begins the folder of a model in the cache of the Hugging Face hub, whose files are links."""


def file_inside(folder: Path, name: str) -> Path | None:
    """The file of that name below a folder; None where name or link leads out of it.

    Names are refused as any system reads them: absolute, with `..`, or with a drive. A link may
    lead to another file below the folder; in the cache of the Hugging Face hub, of the same model.

    Args:
        folder: The folder.
        name: As it stands in a file that somebody else wrote. The file need not be there.
    """
    if not name or "\0" in name:
        return None
    for read in (PurePosixPath(name), PureWindowsPath(name)):
        if read.is_absolute() or read.drive or read.root or ".." in read.parts:
            return None
    place = folder / name
    return place if stays_inside(folder, place) else None


def stays_inside(folder: Path, place: Path) -> bool:
    """Whether a path, with its links followed, lies below a folder or in its model of the hub."""
    try:
        whole = folder.resolve()
        around = next((p for p in whole.parents if p.name.startswith(_HUB)), whole)
        return place.resolve().is_relative_to(around)
    except (OSError, RuntimeError, ValueError):
        return False
