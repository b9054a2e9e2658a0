"""What runs keep for later ones: entries on disk, found by all that they depend on.

A file an entry, named by the digest of its key, which it holds too, beside a digest of its content:
JSON and arrays (safetensors), so that nothing read from it can be code. Files are written aside and
renamed, so that runs at the same time never read half of one. What cannot be read, or is not what
it should be, counts as missing and is replaced. Those used longest ago go when there are too many
bytes. A folder that cannot be written keeps nothing and stops nobody.
"""

import hashlib
import json
import logging
import os
import re
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt

from compressor.system.home import home

log = logging.getLogger("compressor")

T = TypeVar("T")
Key = Mapping[str, str]
Arrays = Mapping[str, npt.NDArray[Any]]

FORMAT = 1
SUFFIX = ".kept"
MOST_BYTES = 2**31
"""Limit of all entries together (2 GB); one may take a fourth of it."""
_ASIDE = ".new"
_DIGITS = 32
_NAME = re.compile(rf"[0-9a-f]{{{_DIGITS}}}\.(kept|npz|json)|tmp[a-z0-9_]{{8}}\.new")
"""As entries are called, of statistics and kernel times, too; and what is written aside."""

_taken: ContextVar[list[str] | None] = ContextVar("taken", default=None)


@dataclass(frozen=True)
class Entry:
    """What is kept under a key.

    Attributes:
        document: JSON.
        arrays: Name → array.
    """

    document: Any
    arrays: Arrays = field(default_factory=dict)


@contextmanager
def counting() -> Iterator[list[str]]:
    """What is taken from any cache inside this block, by name and in order."""
    found: list[str] = []
    token = _taken.set(found)
    try:
        yield found
    finally:
        _taken.reset(token)


def count(what: str) -> None:
    """Tell whoever counts that something was taken from a cache."""
    found = _taken.get()
    if found is not None:
        found.append(what)


def taken() -> tuple[str, ...]:
    """What was taken so far, each once: `capture`, `judgements (3)`."""
    found = _taken.get() or []
    return tuple(
        what if found.count(what) == 1 else f"{what} ({found.count(what)})"
        for what in dict.fromkeys(found)
    )


class Cache:
    """Entries in one folder."""

    def __init__(self, folder: Path | None, most_bytes: int = MOST_BYTES) -> None:
        """Remember where; the folder is made when something is kept.

        Args:
            folder: See `user_folder`; None keeps nothing.
            most_bytes: Limit of all entries together.
        """
        self.folder, self._most = folder, most_bytes

    @property
    def keeps(self) -> bool:
        """Whether anything is kept: keys need not be made where nothing is."""
        return self.folder is not None

    def holds(self, count: int) -> bool:
        """Whether one entry may have so many bytes."""
        return self.keeps and count <= self._most / 4

    def get(self, what: str, key: Key) -> Entry | None:
        """What is kept under that key; None where nothing is, or nothing that can be trusted.

        Args:
            what: Kind of the entry, for people and as a part of the key.
            key: Everything that it depends on.
        """
        if self.folder is None:
            return None
        path = self._path(self.folder, what, key)
        try:
            found = _read(path.read_bytes(), what, key)
        except Exception as error:  # damaged in any way: it is made anew
            if not isinstance(error, FileNotFoundError):
                log.info("%s is damaged and made anew: %s", path, error)
            return None
        with suppress(OSError):
            os.utime(path)  # those used longest ago go first
        return found

    def take(self, what: str, key: Key, make: Callable[[Entry], T | None]) -> T | None:
        """What is made of an entry, which then counts as taken; None where nothing is kept.

        An entry whose seal is whole may still hold what no version of this one wrote: what cannot
        be made of it counts as missing, too.

        Args:
            what: Kind of the entry.
            key: Everything that it depends on.
            make: Reads it; None, or any error, where it is not what it should be.
        """
        entry = self.get(what, key)
        try:
            found = None if entry is None else make(entry)
        except Exception as error:  # whatever reading something else ends in
            log.info("what is kept of %s is made anew", what, exc_info=error)
            return None
        if found is not None:
            count(what)
        return found

    def put(self, what: str, key: Key, entry: Entry) -> None:
        """Keep something; where that cannot be done it is lost, and no more.

        Args:
            what: Kind of the entry.
            key: Everything that it depends on.
            entry: JSON, and arrays of types that numpy itself has.
        """
        if self.folder is None or not self.holds(sum(a.nbytes for a in entry.arrays.values())):
            return
        path = self._path(self.folder, what, key)
        try:
            content = _written(what, key, entry)
            path.parent.mkdir(parents=True, exist_ok=True)
            _replace(path, content)
            trim(self.folder, self._most)
        except Exception as error:  # safetensors has errors of its own; nothing depends on it
            log.info("%s is not kept in %s: %s", what, self.folder, error)

    @staticmethod
    def _path(folder: Path, what: str, key: Key) -> Path:
        text = json.dumps([FORMAT, what, sorted(key.items())])
        return folder / what / f"{hashlib.sha256(text.encode()).hexdigest()[:_DIGITS]}{SUFFIX}"


def user_folder() -> Path | None:
    """The folder of the user's caches.

    `compressor` in $XDG_CACHE_HOME, or in ~/.cache where that is not set; a relative path there
    counts as not set (XDG Base Directory Specification 0.8). None where there is no home.
    """
    base = Path(os.environ.get("XDG_CACHE_HOME", ""))
    if not base.is_absolute():
        own = home()
        if own is None:
            return None
        base = own / ".cache"
    return base / "compressor"


def is_entry(path: Path) -> bool:
    """Whether runs call their entries so: a folder of --cache may hold files of the user's, too."""
    return _NAME.fullmatch(path.name) is not None


def trim(folder: Path, most_bytes: int = MOST_BYTES) -> None:
    """Remove those used longest ago until the rest fits; another run may be removing too."""
    known = []
    for path in filter(is_entry, folder.rglob("*")):
        with suppress(FileNotFoundError):
            found = path.stat()
            known.append((found.st_mtime_ns, path, found.st_size))
    total = sum(size for _, _, size in known)
    for _, path, size in sorted(known):
        if total <= most_bytes:
            return
        path.unlink(missing_ok=True)
        total -= size


def digest_of(*parts: object) -> str:
    """SHA-256 of JSON and bytes, to be a part of a key."""
    found = hashlib.sha256()
    for part in parts:
        content = part if isinstance(part, bytes) else json.dumps(part, sort_keys=True).encode()
        found.update(b"%d:" % len(content))
        found.update(content)
    return found.hexdigest()


def array_digest(array: npt.NDArray[Any]) -> str:
    """SHA-256 of an array's type, shape and values."""
    head = f"{array.dtype.name}{array.shape}".encode()
    return digest_of(head, np.ascontiguousarray(array).tobytes())


def _written(what: str, key: Key, entry: Entry) -> bytes:
    from safetensors.numpy import save  # noqa: PLC0415 - only where something is kept

    document = json.dumps([what, dict(sorted(key.items())), entry.document])
    arrays = {name: np.ascontiguousarray(array) for name, array in entry.arrays.items()}
    metadata = {"format": str(FORMAT), "document": document}
    content: bytes = save(arrays, metadata=metadata)
    return hashlib.sha256(content).digest() + content


def _read(content: bytes, what: str, key: Key) -> Entry:
    from safetensors.numpy import load  # noqa: PLC0415 - as above

    digest, body = content[:32], content[32:]
    if hashlib.sha256(body).digest() != digest:
        raise ValueError("its content is not what was written")
    length = int.from_bytes(body[:8], "little")
    metadata = json.loads(body[8 : 8 + length])["__metadata__"]
    if metadata["format"] != str(FORMAT):
        raise ValueError(f"format {metadata['format']}, expected {FORMAT}")
    kind, found, document = json.loads(metadata["document"])
    if (kind, found) != (what, dict(key)):
        raise ValueError("it is of another key")
    return Entry(document, load(body))


def _replace(path: Path, content: bytes) -> None:
    """The file whole or not at all, however many write it at once."""
    handle, aside = tempfile.mkstemp(dir=path.parent, suffix=_ASIDE)
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(content)
        Path(aside).replace(path)
    except BaseException:
        Path(aside).unlink(missing_ok=True)
        raise
