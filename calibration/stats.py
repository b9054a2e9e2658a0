"""What calibration saw: value name → observation. Saved as one file, merged across shards.

The file is an .npz: a JSON document with names, extremes (every bit of them) and where the
statistics come from, and the histograms of all values end to end.
"""

import hashlib
import json
import math
import os
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import reduce
from glob import escape
from itertools import islice
from operator import index
from pathlib import Path
from typing import Any, Self

import numpy as np
import psutil

from calibration.histogram import Histogram
from calibration.observers import MinMax, Observed
from compressor.errors import DataError
from compressor.system.archives import DAMAGE, why_a_bomb
from compressor.system.nearby import did_you_mean

FORMAT = 3

HISTOGRAMS = ("histogram", "lows", "highs")
"""Histograms of an observation, in the order in which they are stored."""


@dataclass(frozen=True)
class StatsOrigin:
    """The origin of statistics: what they must share to be merged, and where each part comes from.

    Attributes:
        graph: Fingerprint of the float graph.
        batch: Samples per run.
        histograms: Whether more than extremes was collected.
        shards: Fingerprints of the data, one a part, ascending.
    """

    graph: str
    batch: int
    histograms: bool = True
    shards: tuple[str, ...] = ()


@dataclass(frozen=True)
class CalibrationStats:
    """Observations of one graph over one data set, or a part of it."""

    observed: Mapping[str, Observed]
    samples: int
    origin: StatsOrigin

    @property
    def data(self) -> str | None:
        """Fingerprint of the data behind them; of several shards, of their fingerprints."""
        shards = self.origin.shards
        if len(shards) < 2:
            return shards[0] if shards else None
        return hashlib.sha256("".join(shards).encode()).hexdigest()

    def of_data(self, fingerprint: str) -> Self:
        """The statistics, with the data they come from written down."""
        return replace(self, origin=replace(self.origin, shards=(fingerprint,)))

    def merge(self, other: Self) -> Self:
        """The statistics of both parts together: those of one pass over both, bit for bit.

        Raises:
            DataError: The parts come from different graphs, were collected in different ways, or
                are of the same data.
        """
        self._check_mergeable(other)
        merged = {name: seen.merge(other.observed[name]) for name, seen in self.observed.items()}
        shards = tuple(sorted((*self.origin.shards, *other.origin.shards)))
        origin = replace(self.origin, shards=shards)
        return type(self)(merged, self.samples + other.samples, origin)

    def _check_mergeable(self, other: Self) -> None:
        hint = "Merge shards that were collected from the same model, with the same options."
        odd = sorted(self.observed.keys() ^ other.observed.keys())
        if odd or self.origin.graph != other.origin.graph:
            what = f"{odd[0]!r} is in one of them only" if odd else "their fingerprints differ"
            raise DataError(
                f"calibration statistics of different graphs cannot be merged: {what}", hint=hint
            )
        mine, its = replace(self.origin, shards=()), replace(other.origin, shards=())
        if mine != its:
            raise DataError(f"calibration statistics do not fit together: {mine}, {its}", hint=hint)
        twice = sorted(set(self.origin.shards) & set(other.origin.shards))
        if twice:
            raise DataError(
                f"the same data, {twice[0][:12]}, is in both calibration statistics",
                hint="Merge each shard once.",
            )

    def require(self, graph: str, values: Sequence[str], where: str) -> None:
        """Refuse statistics that are not of this graph, or lack values of it.

        Raises:
            DataError: They do not fit; the message begins with `where`.
        """
        if graph != self.origin.graph:
            raise DataError(
                f"{where}: these statistics were collected from the graph "
                f"{self.origin.graph[:12]}, this model's is {graph[:12]}",
                hint="Collect them with `compress calibrate` from the same checkpoint, with the "
                "same versions.",
            )
        missing = [name for name in values if name not in self.observed]
        if missing:
            raise DataError(
                f"{where}: these statistics have nothing about the tensor {missing[0]!r}",
                hint="Collect them with the target and the quantization options of this run.",
            )

    def save(self, path: Path) -> None:
        """Write; an earlier file stays whole until the new one is."""
        names = sorted(self.observed)
        histograms = [getattr(self.observed[name], kind) for name in names for kind in HISTOGRAMS]
        document = {
            "format": FORMAT,
            "samples": self.samples,
            "origin": asdict(self.origin),
            "values": names,
            "extremes": [asdict(self.observed[name].extremes) for name in names],
            "lengths": [len(histogram.keys) for histogram in histograms],
        }
        empty = Histogram()
        aside = path.with_name(f"{path.name}.{os.getpid()}.tmp")
        _remove_left(path)
        try:
            with aside.open("wb") as file:
                np.savez_compressed(
                    file,
                    document=np.frombuffer(json.dumps(document).encode(), np.uint8),
                    keys=np.concatenate([empty.keys, *(h.keys for h in histograms)]),
                    counts=np.concatenate([empty.counts, *(h.counts for h in histograms)]),
                )
            aside.replace(path)
        except OSError as error:
            raise DataError(f"{path} cannot be written: {error.strerror}") from error
        finally:
            aside.unlink(missing_ok=True)

    @classmethod
    def load(cls, path: Path) -> Self:
        """Read what `save` wrote.

        Raises:
            DataError: The file cannot be read or is not such a document.
        """
        try:
            with path.open("rb") as stored, np.load(stored, allow_pickle=False) as file:
                if (bomb := why_a_bomb(file.zip)) is not None:
                    raise ValueError(bomb)
                document = json.loads(file["document"].tobytes())
                if document["format"] != FORMAT:
                    raise ValueError(f"format {document['format']}, expected {FORMAT}")
                return cls._from(document, file["keys"], file["counts"])
        except OSError as error:
            raise DataError(
                f"{path} cannot be read: {error.strerror or error}", hint=did_you_mean(path)
            ) from error
        except (KeyError, TypeError, AttributeError, IndexError, *DAMAGE) as error:
            raise DataError(f"{path} holds no calibration statistics: {error}") from error

    @classmethod
    def _from(cls, document: dict[str, Any], keys: Any, counts: Any) -> Self:
        lengths = [index(length) for length in document["lengths"]]
        if min(lengths, default=0) < 0 or not sum(lengths) == len(keys) == len(counts):
            raise ValueError(f"{sum(lengths)} bins expected, {len(keys)} found")
        if len(lengths) != len(HISTOGRAMS) * len(document["values"]):
            raise ValueError(f"{len(lengths)} histograms of {len(document['values'])} values")
        if keys.dtype.kind not in "iu" or counts.dtype.kind not in "iu" or (counts < 0).any():
            raise ValueError("its bins are no counts")
        cuts = np.cumsum(lengths)[:-1]
        pairs = zip(np.split(keys, cuts), np.split(counts, cuts), strict=True)
        histograms = (Histogram(k.astype(np.uint16), c.astype(np.int64)) for k, c in pairs)
        observed = {
            str(name): Observed(_extremes(**extremes), *islice(histograms, len(HISTOGRAMS)))
            for name, extremes in zip(document["values"], document["extremes"], strict=True)
        }
        return cls(observed, index(document["samples"]), _origin(**document["origin"]))


def _remove_left(path: Path) -> None:
    """Remove what processes that are gone were writing in the place of a file."""
    for left in path.parent.glob(f"{escape(path.name)}.*.tmp"):
        number = left.name.removeprefix(f"{path.name}.").removesuffix(".tmp")
        if number.isdecimal() and not psutil.pid_exists(int(number)):
            left.unlink(missing_ok=True)


def _extremes(low: object, high: object) -> MinMax:
    """Extremes as they were written; of what was never observed they are infinite.

    Raises:
        ValueError: They are none.
    """
    if not isinstance(low, int | float) or not isinstance(high, int | float):
        raise ValueError(f"a range from {low!r:.40} to {high!r:.40}")
    if math.isnan(low) or math.isnan(high) or (low > high and math.isfinite(low)):
        raise ValueError(f"a range from {low} to {high}")
    return MinMax(float(low), float(high))


def _origin(graph: object, batch: Any, histograms: object, shards: Any) -> StatsOrigin:
    """The origin as it was written.

    Raises:
        TypeError: It is none.
    """
    if not isinstance(graph, str) or not isinstance(histograms, bool):
        raise TypeError("an origin that is none")
    return StatsOrigin(graph, index(batch), histograms, tuple(str(shard) for shard in shards))


def merged(parts: Sequence[CalibrationStats]) -> CalibrationStats:
    """All parts together, in any order the same.

    Raises:
        DataError: They do not belong together.
    """
    return reduce(lambda one, other: one.merge(other), parts)
