"""Percentiles: at each end, the share of elements that may lie beyond the range.

high = min{h ≥ 0: P(x > h) ≤ 1 - p/100},   low likewise; interpolated within a bin
"""

from dataclasses import dataclass

import numpy as np

from calibration.histogram import Bins
from calibration.observers import Observed
from calibration.scheme import Scheme
from compressor.errors import UsageError

DEFAULT = 99.99


@dataclass(frozen=True)
class Percentile:
    """The range that leaves out (100 - `percent`) % of the elements at each end, at most."""

    percent: float

    def propose(self, observed: Observed, scheme: Scheme) -> tuple[float, float]:
        """[low, high]; widened to the same magnitude on both sides for a symmetric scheme."""
        bins = observed.bins()
        allowed = (1 - self.percent / 100) * (bins.counts.sum() + bins.zeros)
        if scheme.symmetric:
            high = cut(bins.magnitudes(), allowed)
            low = -high
        else:
            high, low = cut(bins, allowed), -cut(bins.mirrored(), allowed)
        low, high = max(low, min(observed.low, 0.0)), min(high, max(observed.high, 0.0))
        return low + 0.0, high + 0.0  # no -0.0


def with_parameter(text: str) -> Percentile:
    """`percentile:TEXT`.

    Raises:
        UsageError: It is not a number above 50 and at most 100.
    """
    return Percentile(parsed(text))


def parsed(text: str) -> float:
    """A percentile in words.

    Raises:
        UsageError: It is not a number above 50 and at most 100.
    """
    try:
        percent = float(text)
    except ValueError:
        percent = float("nan")
    if not 50 < percent <= 100:
        raise UsageError(f"expected a percentile above 50 and up to 100, found {text!r}")
    return percent


def propose(observed: Observed, scheme: Scheme) -> tuple[float, float]:
    """The range of the 99.99th percentiles."""
    return Percentile(DEFAULT).propose(observed, scheme)


def cut(bins: Bins, allowed: float) -> float:
    """The least value, not below zero, with at most `allowed` elements above it."""
    positive = bins.upper > 0
    lower, upper, counts = bins.lower[positive], bins.upper[positive], bins.counts[positive]
    beyond = np.cumsum(counts[::-1])[::-1]  # elements in this bin and above
    over = np.flatnonzero(beyond > allowed)
    if not over.size:
        return 0.0
    last = over[-1]
    above = beyond[last] - counts[last]
    share = (allowed - above) / counts[last]
    return float(upper[last] - share * (upper[last] - lower[last]))
