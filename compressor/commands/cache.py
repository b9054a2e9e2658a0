"""`compress cache`: what runs keep for later ones, and how to be rid of it."""

from pathlib import Path

from compressor.errors import OutputError
from compressor.evaluation.latency_cache import cache_folder
from compressor.results.format import size as bytes_words
from compressor.results.records import Record


class CacheResult(Record):
    """What lies in a cache.

    Attributes:
        directory: Its folder; None where this system has no place for one.
        entries: Files.
        bytes: Their size together.
        cleared: Whether they were removed.
    """

    directory: str | None
    entries: int
    bytes: int
    cleared: bool = False

    @property
    def text(self) -> str:
        """In a line."""
        if self.directory is None:
            return "there is no cache: this system has no folder for one"
        what = f"{self.entries} entries, {bytes_words(self.bytes)}"
        return f"{self.directory}: {what}{', removed' if self.cleared else ''}"


def cache(directory: Path | None = None, *, clear: bool = False) -> CacheResult:
    """What a cache holds.

    Args:
        directory: The folder of `--calib-cache`; None for the one of the user, which holds kernel
            times.
        clear: Remove it.

    Raises:
        OutputError: An entry cannot be removed.
    """
    folder = cache_folder(None) if directory is None else directory
    files = [] if folder is None or not folder.is_dir() else sorted(_entries(folder))
    size = sum(path.stat().st_size for path in files)
    if clear:
        try:
            for path in files:
                path.unlink(missing_ok=True)
        except OSError as error:
            raise OutputError(f"{folder} cannot be cleared: {error.strerror}") from error
    return CacheResult(
        directory=None if folder is None else str(folder),
        entries=len(files),
        bytes=size,
        cleared=clear,
    )


def _entries(folder: Path) -> list[Path]:
    """What runs write: kernel times as JSON, statistics as .npz; nothing else is touched."""
    return [path for path in folder.rglob("*") if path.suffix in (".json", ".npz") and
            path.is_file()]  # fmt: skip
