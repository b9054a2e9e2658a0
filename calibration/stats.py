"""What calibration saw: value name → observation. Saved as JSON, merged across shards."""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Self

from calibration.observers import MinMax
from compressor.errors import DataError

FORMAT = 1


@dataclass(frozen=True)
class CalibrationStats:
    """Observations of one graph over one data set, or a part of it."""

    observed: Mapping[str, MinMax]
    samples: int

    def merge(self, other: Self) -> Self:
        """The statistics of both parts together.

        Raises:
            DataError: The parts observed different values, so they come from different graphs.
        """
        if self.observed.keys() != other.observed.keys():
            odd = sorted(self.observed.keys() ^ other.observed.keys())
            raise DataError(
                f"calibration statistics of different graphs cannot be merged: {odd[0]!r} "
                f"is in one of them only",
                hint="Merge shards that were collected from the same model.",
            )
        merged = {name: seen.merge(other.observed[name]) for name, seen in self.observed.items()}
        return type(self)(merged, self.samples + other.samples)

    def save(self, path: Path) -> None:
        """Write as JSON; floats keep every bit."""
        observed = {name: asdict(seen) for name, seen in sorted(self.observed.items())}
        document = {"format": FORMAT, "samples": self.samples, "observed": observed}
        path.write_text(json.dumps(document, indent=1), encoding="utf-8")

    @classmethod
    def load(cls, path: Path) -> Self:
        """Read what `save` wrote.

        Raises:
            DataError: The file is not such a document.
        """
        try:
            document = json.loads(path.read_text(encoding="utf-8"))
            if document["format"] != FORMAT:
                raise ValueError(f"format {document['format']}, expected {FORMAT}")
            observed = {name: MinMax(**seen) for name, seen in document["observed"].items()}
            return cls(observed, int(document["samples"]))
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise DataError(f"{path} holds no calibration statistics: {error}") from error
