"""Streaming observers: bounded, mergeable summaries of the values seen at one point of a graph.

Two halves of a data set, observed apart, merge to the same result as one pass, bit for bit: the
extremes are exact and the counts are whole numbers, whatever the batches were.
"""

import math
from dataclasses import dataclass, field
from typing import Self

import numpy as np

from calibration.histogram import Bins, Histogram
from compressor.errors import DataError
from compressor.graph.tensors import Array


@dataclass(frozen=True)
class MinMax:
    """The least and greatest value seen."""

    low: float = math.inf
    high: float = -math.inf

    def update(self, low: float, high: float, *, name: str, endless: bool = False) -> Self:
        """Take in the extremes of one batch, which with `endless` may be infinite.

        Raises:
            DataError: They are not finite; `name` is the tensor that the message names.
        """
        refused = math.isnan if endless else lambda bound: not math.isfinite(bound)
        if refused(low) or refused(high):
            raise DataError(
                f"tensor {name!r} is not finite on the calibration data: "
                f"its range came out as [{low}, {high}]",
                hint="Check the preprocessing of the data, and the model: NaN in its weights, or "
                "numbers beyond its range.",
            )
        return self.merge(type(self)(low, high))

    def merge(self, other: Self) -> Self:
        """The observation of both parts together."""
        return type(self)(min(self.low, other.low), max(self.high, other.high))


@dataclass(frozen=True)
class Observed:
    """The observations of one tensor.

    Attributes:
        extremes: Least and greatest of every element.
        histogram: Counts of the sampled elements; empty when only extremes were collected.
        lows: Histogram of the least value of each sample; empty likewise.
        highs: Histogram of the greatest value of each sample; empty likewise.
    """

    extremes: MinMax = field(default_factory=MinMax)
    histogram: Histogram = field(default_factory=Histogram)
    lows: Histogram = field(default_factory=Histogram)
    highs: Histogram = field(default_factory=Histogram)

    @classmethod
    def of(cls, values: Array) -> Self:
        """Everything in an array whose first dimension counts samples."""
        rows = np.asarray(values, np.float32).reshape(len(values), -1)
        lows, highs = rows.min(1), rows.max(1)
        return cls(
            MinMax(float(lows.min()), float(highs.max())),
            Histogram.of(rows),
            Histogram.of(lows),
            Histogram.of(highs),
        )

    @property
    def low(self) -> float:
        """The least value."""
        return self.extremes.low

    @property
    def high(self) -> float:
        """The greatest value."""
        return self.extremes.high

    def merge(self, other: Self) -> Self:
        """The observation of both parts together."""
        return type(self)(
            self.extremes.merge(other.extremes),
            self.histogram.merge(other.histogram),
            self.lows.merge(other.lows),
            self.highs.merge(other.highs),
        )

    def bins(self) -> Bins:
        """The histogram's bins, cut at the extremes.

        Raises:
            DataError: Only extremes were collected.
        """
        return self._cut(self.histogram)

    def sample_extremes(self) -> tuple[Bins, Bins]:
        """The bins of the samples' least and of their greatest values, cut at the extremes.

        Raises:
            DataError: Only extremes were collected.
        """
        return self._cut(self.lows), self._cut(self.highs)

    def _cut(self, histogram: Histogram) -> Bins:
        if histogram.total == 0:
            raise DataError(
                "the calibration statistics hold extremes only, and this range method needs "
                "histograms",
                hint="Collect the statistics again, or use --ranges minmax.",
            )
        bins = histogram.bins()
        low, high = min(self.low, 0.0), max(self.high, 0.0)
        lower, upper = np.clip(bins.lower, low, high), np.clip(bins.upper, low, high)
        return Bins(lower, upper, bins.counts, bins.zeros)
