"""Streaming observers: bounded, mergeable summaries of the values seen at one point of a graph.

Two halves of a data set, observed apart, merge to the same result as one pass.
"""

import math
from dataclasses import dataclass
from typing import Self

from compressor.errors import DataError


@dataclass(frozen=True)
class MinMax:
    """The least and greatest value seen, over how many batches."""

    low: float = math.inf
    high: float = -math.inf
    batches: int = 0

    def update(self, low: float, high: float, *, name: str) -> Self:
        """Take in the extremes of one batch.

        Raises:
            DataError: They are not finite; `name` is the tensor that the message names.
        """
        if not (math.isfinite(low) and math.isfinite(high)):
            raise DataError(
                f"tensor {name!r} is not finite on the calibration data: "
                f"its range came out as [{low}, {high}]",
                hint="Check the preprocessing of the data, or the model's numerical range.",
            )
        return self.merge(type(self)(low, high, 1))

    def merge(self, other: Self) -> Self:
        """The observation of both parts together."""
        return type(self)(
            min(self.low, other.low), max(self.high, other.high), self.batches + other.batches
        )
