"""Latencies that were measured before, on disk, by everything that they depend on.

A file an entry, named by the digest of its key, which it holds too. Files are written aside and
renamed, so that runs at the same time never read half of one; what cannot be read, or is not what
it should be, is measured anew. Those used longest ago go when there are too many bytes. A folder
that cannot be written keeps nothing and stops nobody.
"""

import hashlib
import json
import logging
import math
import os
import platform
import tempfile
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from compressor.system.cache import count, is_entry
from compressor.system.hardware import host_flags, processor
from compressor.system.processors import available_processors
from compressor.system.versions import version_of

log = logging.getLogger("compressor")

Key = Mapping[str, str]
Seconds = Mapping[str, float]

FORMAT = 2
"""Version of the file and of how its figures are taken: 2 leaves out runs without the core."""
MOST_BYTES = 2**25
"""Limit of all entries together: room for some hundred models."""
_DIGITS = 32
_ASIDE = ".new"


Measure = Callable[[], dict[str, float]]
"""Measures some figures."""
Recall = Callable[[Measure], dict[str, float]]
"""Gives figures that somebody knows already, or measures them."""


def afresh(measure: Measure) -> dict[str, float]:
    """The `Recall` of who knows none."""
    return measure()


class LatencyCache:
    """Entries in one folder, which nothing else lies in."""

    def __init__(self, folder: Path | None, most_bytes: int = MOST_BYTES) -> None:
        """Remember where; the folder is made when something is kept.

        Args:
            folder: See `latency_folder`; None keeps nothing.
            most_bytes: Limit of all entries together.
        """
        self._folder, self._most = folder, most_bytes

    def measured(self, key: Key, measure: Callable[[], Seconds]) -> dict[str, float]:
        """What was measured under that key, now where it was not before.

        Args:
            key: Everything that the figures depend on: see `machine`.
            measure: Name → figure, finite and not negative; called where nothing is known.
        """
        found = self.get(key)
        if found is None:
            found = dict(measure())
            self.put(key, found)
        else:
            count("kernel times")
        return found

    def get(self, key: Key) -> dict[str, float] | None:
        """What is kept under that key; None where nothing is, or nothing that can be trusted."""
        if self._folder is None:
            return None
        path = self._path(self._folder, key)
        try:
            document = json.loads(path.read_text(encoding="utf-8"))
        except (OSError, ValueError, RecursionError):
            return None
        found = _figures(document, key)
        if found is not None:
            with suppress(OSError):
                os.utime(path)  # those used longest ago go first
        return found

    def put(self, key: Key, figures: Seconds) -> None:
        """Keep figures; where that cannot be done they are lost, and no more."""
        if self._folder is None:
            return
        document = {"format": FORMAT, "key": dict(key), "figures": dict(figures)}
        text = json.dumps(document, indent=1, sort_keys=True, allow_nan=False)
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            _written(self._path(self._folder, key), text)
            self._trim(self._folder)
        except OSError as error:
            log.info("latencies are not kept in %s: %s", self._folder, error.strerror)

    @staticmethod
    def _path(folder: Path, key: Key) -> Path:
        text = json.dumps([FORMAT, sorted(key.items())])
        return folder / f"{hashlib.sha256(text.encode()).hexdigest()[:_DIGITS]}.json"

    def _trim(self, folder: Path) -> None:
        """Remove those used longest ago until the rest fits; another run may be removing too."""
        known = []
        for path in filter(is_entry, folder.iterdir()):
            with suppress(FileNotFoundError):
                found = path.stat()
                known.append((found.st_mtime_ns, path, found.st_size))
        total = sum(size for _, _, size in known)
        for _, path, size in sorted(known):
            if total <= self._most:
                return
            path.unlink(missing_ok=True)
            total -= size


def latency_folder(root: Path | None) -> Path | None:
    """The folder that keeps latencies: `latencies` below the cache of a run, if it has one."""
    return None if root is None else root / "latencies"


def machine(runtime: str) -> dict[str, str]:
    """What latencies depend on of the machine and its software, as a part of a key.

    Args:
        runtime: The package that runs the models, such as onnxruntime.
    """
    return {
        "processor": processor(),
        "flags": " ".join(host_flags()),
        "cores": str(available_processors()),
        "system": f"{platform.system()} {platform.machine()}",
        **{name: version_of(name) for name in ("compressor", runtime)},
    }


def _figures(document: Any, key: Key) -> dict[str, float] | None:
    if not isinstance(document, dict) or document.get("format") != FORMAT:
        return None
    figures = document.get("figures")
    if document.get("key") != dict(key) or not isinstance(figures, dict):
        return None
    for figure in figures.values():
        if type(figure) not in (int, float) or not 0 <= figure < math.inf:
            return None
    return {name: float(figure) for name, figure in figures.items()}


def _written(path: Path, text: str) -> None:
    """The file whole or not at all, however many write it at once."""
    handle, aside = tempfile.mkstemp(dir=path.parent, suffix=_ASIDE)
    try:
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            file.write(text)
        Path(aside).replace(path)
    except BaseException:
        Path(aside).unlink(missing_ok=True)
        raise
