"""Where the trials of a search lie: Optuna's journal in a folder, or a database that many share."""

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

JOURNAL = "study.journal"


@contextmanager
def quiet() -> Iterator[None]:
    """Optuna logs every trial, and warns of what is experimental in it."""
    import optuna  # noqa: PLC0415 - only a search loads it

    optuna.logging.set_verbosity(optuna.logging.ERROR)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def opened(folder: Path, url: str | None) -> Any:
    """Optuna's storage.

    Args:
        folder: Holds the journal.
        url: Of a database; None for the journal.

    Raises:
        Exception: Of any database driver.
    """
    from optuna import storages  # noqa: PLC0415 - as above
    from optuna.storages.journal import JournalFileBackend  # noqa: PLC0415 - as above

    if url is not None:
        return storages.RDBStorage(url)
    path = folder / JOURNAL
    _mend(path)
    return storages.JournalStorage(JournalFileBackend(str(path)))


def _mend(path: Path) -> None:
    """Drop the line that a killed process did not finish: behind it nothing could be read."""
    if not path.exists():
        return
    content = path.read_bytes()
    whole = content.rfind(b"\n") + 1
    if whole < len(content):
        with path.open("r+b") as file:
            file.truncate(whole)


def hidden(url: str | None) -> str:
    """A URL without its password."""
    try:
        from sqlalchemy.engine import make_url  # noqa: PLC0415 - with Optuna

        return make_url(url or "").render_as_string(hide_password=True)
    except Exception:  # no URL at all: told as it is
        return str(url)


def first_line(error: BaseException) -> str:
    """What a driver said."""
    lines = str(error).strip().splitlines() or [type(error).__name__]
    return lines[0]
