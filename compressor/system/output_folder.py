"""The output folder: written aside, then swapped in whole.

Linux exchanges two folders in one step. Elsewhere, and on file systems that cannot, the swap takes
two, between which DIR is missing; if it is killed there, the next run repairs it.

.DIR.compress-new-7  being written by process 7; what a killed one left is removed
.DIR.compress-old    the earlier result in a swap of two steps; put back if DIR is missing
DIR/.FILE.compress-new   a single file of it being written anew (`replace_file`)
"""

import ctypes
import hashlib
import json
import os
import shutil
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import psutil

from compressor.errors import OutputError
from compressor.system.home import home
from compressor.system.writable import why_not_writable

MANIFEST = "manifest.json"
MANIFEST_FORMAT = "compressor/1"
_ASIDE = ".compress-new"
_AT_FDCWD, _RENAME_EXCHANGE = -100, 2
"""Linux's constants, of <fcntl.h> and <linux/fs.h>."""


def beside(directory: Path, suffix: str) -> Path:
    """The folder next to `directory` that the swap uses."""
    return directory.with_name(f".{directory.name}.compress-{suffix}")


def prepare(directory: Path, *, force: bool, inputs: Iterable[Path] = (), room: int = 0) -> None:
    """Repair an interrupted swap and make sure that the folder is ours to replace.

    Called before any work is done, so that an hour is not spent on a result nobody can write.

    Args:
        directory: The output folder.
        force: Replace it even if it holds what this tool did not write.
        inputs: Files that the run reads: replacing their folder would destroy them.
        room: Bytes that the result takes at least.

    Raises:
        OutputError: The working directory, the home folder or an input lies within; something
            that we did not write is in the way and `force` is not set; or the parent cannot be
            written.
    """
    directory = directory.resolve()
    _refuse_precious(directory, inputs)
    try:
        put_back(directory)
        for left in (beside(directory, "old"), *_left_over(directory)):
            _remove(left)
    except OSError as error:
        raise OutputError(
            f"what an earlier run left beside {directory} cannot be removed: {error}",
            hint="Remove it, or choose another folder with -o.",
        ) from error
    foreign = None if force else _foreign(directory)
    if foreign is not None:
        raise OutputError(
            f"{foreign} exists and was not written by this tool: it is left alone",
            hint="Choose another folder with -o, or replace all of it with --force.",
        )
    reason = why_not_writable(directory.parent, room)
    if reason is not None:
        raise OutputError(
            f"the output folder {directory} cannot be written: {reason}",
            hint="Choose another with -o.",
        )


def put_back(directory: Path) -> None:
    """Undo a swap that was killed while the folder was missing.

    Raises:
        OSError: It cannot be renamed.
    """
    directory = directory.resolve()
    old = beside(directory, "old")
    if old.exists() and not directory.exists():
        old.rename(directory)


def _left_over(directory: Path) -> list[Path]:
    """What processes that are gone were writing; those at work keep theirs."""
    start = beside(directory, "new").name
    if not directory.parent.is_dir():
        return []
    found = [path for path in directory.parent.iterdir() if path.name.startswith(start)]
    return [path for path in found if not _is_at_work(path.name.removeprefix(start))]


def _is_at_work(process: str) -> bool:
    """Whether `-7`, say, names another process that runs."""
    if not process.removeprefix("-").isdigit():
        return process != ""
    number = int(process.removeprefix("-"))
    return number != os.getpid() and psutil.pid_exists(number)


@contextmanager
def written_aside(directory: Path) -> Iterator[Path]:
    """A fresh folder that takes the place of `directory` when the block ends well."""
    directory = directory.resolve()
    new, old = beside(directory, f"new-{os.getpid()}"), beside(directory, "old")
    _remove(new)
    try:
        new.mkdir(parents=True)
        (new / MANIFEST).write_text(json.dumps({"format": MANIFEST_FORMAT}), encoding="utf-8")
        yield new
    except OSError as error:
        _discard(new)
        raise OutputError(f"{new} cannot be written: {error}") from error
    except BaseException:
        _discard(new)
        raise
    try:
        _swap(directory, new, old)
    except OSError as error:
        _discard(new)
        with suppress(OSError):
            put_back(directory)
        raise OutputError(f"{directory} cannot be replaced: {error}") from error


def _swap(directory: Path, new: Path, old: Path) -> None:
    """Let the new folder take the place of the other, whose removal may wait for the next run."""
    if directory.exists() and _exchanged(directory, new):
        _discard(new)
        return
    if directory.exists():
        _remove(old)
        directory.rename(old)
    new.rename(directory)
    _discard(old)


def _exchanged(one: Path, other: Path) -> bool:
    """Let two paths change places in one step; False where system or file system cannot."""
    if sys.platform != "linux":
        return False
    try:
        renameat2 = ctypes.CDLL(None).renameat2
    except (OSError, AttributeError):  # a C library without it
        return False
    here = ctypes.c_int(_AT_FDCWD)
    paths = (here, os.fsencode(one), here, os.fsencode(other))
    return bool(renameat2(*paths, ctypes.c_uint(_RENAME_EXCHANGE)) == 0)


def write_manifest(directory: Path, content: dict[str, Any]) -> None:
    """Write `manifest.json`: the SHA-256 of every file beside it, and `content`."""
    files = {
        path.relative_to(directory).as_posix(): _seal(path)
        for path in sorted(directory.rglob("*"))
        if path.is_file() and path.name != MANIFEST
    }
    document = {"format": MANIFEST_FORMAT, "files": files, **content}
    (directory / MANIFEST).write_text(_manifest_text(document), encoding="utf-8")


def reseal(directory: Path, names: Iterable[str]) -> None:
    """Bring the manifest up to date with files of those names that were written anew.

    It keeps its time: a build tool goes by that, and the artifact is no newer than it was.

    Raises:
        OSError: The folder cannot be read or written.
        OutputError: See `is_ours`.
    """
    path = directory / MANIFEST
    times = path.stat()
    document = manifest_of(directory)
    assert document is not None, "the folder is ours"
    sealed = document.get("files", {}) | {name: _seal(directory / name) for name in names}
    replace_file(path, _manifest_text(document | {"files": sealed}))
    os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns))


def replace_file(path: Path, text: str) -> None:
    """Write a text file whole or not at all.

    Raises:
        OSError: It cannot be written.
    """
    aside = path.with_name(f".{path.name}{_ASIDE}")
    try:
        aside.write_text(text, encoding="utf-8")
        aside.replace(path)
    finally:
        aside.unlink(missing_ok=True)


def _seal(path: Path) -> dict[str, str | int]:
    return {"sha256": sha256(path), "bytes": path.stat().st_size}


def _manifest_text(document: dict[str, Any]) -> str:
    return json.dumps(document, indent=1, sort_keys=True) + "\n"


def sha256(path: Path) -> str:
    """Hex digest of a file, read in pieces."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _refuse_precious(directory: Path, inputs: Iterable[Path]) -> None:
    """The whole folder is replaced: some folders must never be, not even by force."""
    own = home()
    precious = {"the working directory": Path.cwd()}
    precious |= {} if own is None else {"the home folder": own}
    precious |= {f"the input {path}": path for path in inputs}
    for what, path in precious.items():
        if path.resolve().is_relative_to(directory):
            raise OutputError(
                f"the output folder {directory} holds {what}, and is replaced as a whole",
                hint="Choose a folder of its own with -o.",
            )


def _foreign(directory: Path) -> Path | None:
    """The folder, or something in it, that we did not write; None when there is nothing."""
    if not directory.exists() or _is_empty(directory):
        return None
    document = manifest_of(directory)
    if document is None:
        return directory
    known = {MANIFEST, *document.get("files", {})}
    present = (
        path
        for path in sorted(directory.rglob("*"))
        if not path.is_dir() and not (path.name.startswith(".") and path.name.endswith(_ASIDE))
    )
    return next((p for p in present if p.relative_to(directory).as_posix() not in known), None)


def is_ours(directory: Path) -> bool:
    """Whether a folder holds a manifest of this tool.

    Raises:
        OutputError: It does, but the manifest is damaged.
    """
    return manifest_of(directory) is not None


def manifest_of(directory: Path) -> dict[str, Any] | None:
    """What our manifest in a folder says; None where there is none of ours.

    Raises:
        OutputError: It is damaged.
    """
    path = directory / MANIFEST
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return None
    if not isinstance(document, dict) or document.get("format") != MANIFEST_FORMAT:
        return None
    files = document.get("files", {})
    if not isinstance(files, dict):
        raise OutputError(
            f"{path} is damaged: expected its 'files' to be an object, found {files!r:.40}",
            hint="Compress the model again with --force, which replaces the whole folder.",
        )
    return document


def broken_seals(directory: Path) -> tuple[list[str], int]:
    """Files that are not as our manifest in a folder seals them, and how many it seals.

    Raises:
        OutputError: There is no manifest of ours, or it is damaged.
    """
    manifest = manifest_of(directory)
    if manifest is None:
        raise OutputError(
            f"{directory} is no result of compress: it has no {MANIFEST} of ours",
            hint="Name the folder that `compress ... -o FOLDER` wrote.",
        )
    sealed = manifest.get("files", {})
    wrong = [name for name, seal in sealed.items() if not _is_sealed(directory, name, seal)]
    return wrong, len(sealed)


def _is_sealed(directory: Path, name: str, seal: object) -> bool:
    path = within(directory, name)
    if path is None or not isinstance(seal, dict) or not path.is_file():
        return False
    return sha256(path) == seal.get("sha256")


def within(directory: Path, name: object) -> Path | None:
    """The path that a file of a folder names; None where it is none or leads out of the folder."""
    if not isinstance(name, str) or "\0" in name:
        return None
    path = directory / name
    return path if path.resolve().is_relative_to(directory.resolve()) else None


def _is_empty(directory: Path) -> bool:
    return directory.is_dir() and not any(directory.iterdir())


def _discard(path: Path) -> None:
    """Remove what is of no more use; what cannot be removed now, the next run does."""
    with suppress(OSError):
        _remove(path)


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    elif path.exists() or path.is_symlink():
        path.unlink()
