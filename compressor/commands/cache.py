"""`compress cache`: what runs keep for later ones, and how to be rid of it."""

from collections import Counter
from pathlib import Path

from pydantic import Field

from compressor.errors import OutputError
from compressor.results.format import size as bytes_words
from compressor.results.records import Record
from compressor.system.cache import MOST_BYTES, is_entry, user_folder

_KINDS = {".npz": "calibration statistics", ".json": "kernel times"}


class CacheResult(Record):
    """What lies in a cache.

    Attributes:
        directory: Its folder; None where this system has no place for one.
        entries: Files.
        bytes: Their size together.
        limit: The most that they may come to; those used longest ago go first.
        kinds: What they hold → bytes, the largest first.
        cleared: Whether they were removed.
    """

    directory: str | None
    entries: int
    bytes: int
    limit: int = MOST_BYTES
    kinds: dict[str, int] = Field(default_factory=dict)
    cleared: bool = False

    @property
    def text(self) -> str:
        """In a line, and one more for each kind."""
        if self.directory is None:
            return "there is no cache: this system has no folder for one"
        entries = "1 entry" if self.entries == 1 else f"{self.entries:,} entries"
        what = f"{entries}, {bytes_words(self.bytes)} of {bytes_words(self.limit)}"
        head = f"{self.directory}: {what}{', removed' if self.cleared else ''}"
        return "\n".join([head, *(f"  {k}: {bytes_words(n)}" for k, n in self.kinds.items())])


def cache(directory: Path | None = None, *, clear: bool = False) -> CacheResult:
    """What a cache holds.

    Args:
        directory: A folder of `--cache`; None for the user's.
        clear: Remove it.

    Raises:
        OutputError: An entry cannot be removed.
    """
    folder = user_folder() if directory is None else directory
    files = [] if folder is None or not folder.is_dir() else sorted(_entries(folder))
    kinds = Counter[str]()
    for path in files:
        kinds[_KINDS.get(path.suffix, path.parent.name)] += path.stat().st_size
    if clear:
        try:
            for path in files:
                path.unlink(missing_ok=True)
        except OSError as error:
            raise OutputError(f"{folder} cannot be cleared: {error.strerror}") from error
    return CacheResult(
        directory=None if folder is None else str(folder),
        entries=len(files),
        bytes=kinds.total(),
        kinds=dict(kinds.most_common()),
        cleared=clear,
    )


def _entries(folder: Path) -> list[Path]:
    """What runs write; nothing else is touched."""
    return [path for path in folder.rglob("*") if is_entry(path) and path.is_file()]
