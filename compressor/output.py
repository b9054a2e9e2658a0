"""The output folder: written aside, then swapped in whole; an interrupted swap is repaired.

.DIR.compress-new    being written; a leftover of an interrupted run is removed
.DIR.compress-old    the earlier result during the swap; if DIR is missing, it is put back
"""

import hashlib
import json
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from compressor.errors import OutputError

MANIFEST = "manifest.json"
MANIFEST_FORMAT = "compressor/1"


def beside(directory: Path, suffix: str) -> Path:
    """The folder next to `directory` that the swap uses."""
    return directory.with_name(f".{directory.name}.compress-{suffix}")


def prepare(directory: Path, *, force: bool) -> None:
    """Repair an interrupted swap and make sure that the folder is ours to replace.

    Called before any work is done, so that an hour is not spent on a result nobody can write.

    Raises:
        OutputError: Something that we did not write is in the way and `force` is not set, or the
            parent cannot be written.
    """
    directory = directory.absolute()
    old = beside(directory, "old")
    if old.exists() and not directory.exists():
        old.rename(directory)
    _remove(old)
    _remove(beside(directory, "new"))
    if directory.exists() and not force and not is_ours(directory) and not _is_empty(directory):
        raise OutputError(
            f"{directory} exists and was not written by this tool: it is left alone",
            hint="Choose another folder with -o, or replace it with --force.",
        )
    try:
        directory.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError(f"{directory.parent} cannot be made: {error.strerror}") from error
    if not os.access(directory.parent, os.W_OK):
        raise OutputError(f"{directory.parent} cannot be written", hint="Choose another with -o.")


@contextmanager
def written_aside(directory: Path) -> Iterator[Path]:
    """A fresh folder that takes the place of `directory` when the block ends well."""
    directory = directory.absolute()
    new, old = beside(directory, "new"), beside(directory, "old")
    _remove(new)
    try:
        new.mkdir(parents=True)
        (new / MANIFEST).write_text(json.dumps({"format": MANIFEST_FORMAT}), encoding="utf-8")
        yield new
    except OSError as error:
        _remove(new)
        raise OutputError(f"{new} cannot be written: {error}") from error
    except BaseException:
        _remove(new)
        raise
    if directory.exists():
        _remove(old)
        directory.rename(old)
    new.rename(directory)
    _remove(old)


def write_manifest(directory: Path, content: dict[str, Any]) -> None:
    """Write `manifest.json`: the SHA-256 of every file beside it, and `content`."""
    files = {
        path.relative_to(directory).as_posix(): {
            "sha256": sha256(path),
            "bytes": path.stat().st_size,
        }
        for path in sorted(directory.rglob("*"))
        if path.is_file() and path.name != MANIFEST
    }
    document = {"format": MANIFEST_FORMAT, "files": files, **content}
    text = json.dumps(document, indent=1, sort_keys=True) + "\n"
    (directory / MANIFEST).write_text(text, encoding="utf-8")


def sha256(path: Path) -> str:
    """Hex digest of a file, read in pieces."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def is_ours(directory: Path) -> bool:
    """Whether a folder holds a manifest of this tool."""
    try:
        document = json.loads((directory / MANIFEST).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return False
    return isinstance(document, dict) and document.get("format") == MANIFEST_FORMAT


def _is_empty(directory: Path) -> bool:
    return directory.is_dir() and not any(directory.iterdir())


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    elif path.exists() or path.is_symlink():
        path.unlink()
