"""Samples: the range that covers all but a few samples whole.

    high = the 99th percentile, over samples, of the sample's greatest value; low likewise

A percentile of elements cannot tell an accident from a tail: behind a few convolutions one broken
pixel is in every element of its sample. Here its whole sample counts once.
"""

from dataclasses import dataclass

from calibration.observers import Observed
from calibration.ranges.percentile import cut, parsed
from calibration.scheme import Scheme

DEFAULT = 99.0
ENOUGH = 32
"""Samples from which on one of them at least may be left out."""


@dataclass(frozen=True)
class SamplePercentile:
    """The range in which `percent` % of the samples stay, at each end."""

    percent: float

    def propose(self, observed: Observed, scheme: Scheme) -> tuple[float, float]:
        """[low, high]; of the same magnitude for a symmetric scheme, where both signs occur."""
        least, greatest = observed.sample_extremes()
        total = observed.highs.total
        allowed = (1 - self.percent / 100) * total
        if self.percent < 100 and total >= ENOUGH:
            allowed = max(allowed, 1.0)
        low, high = -cut(least.mirrored(), allowed), cut(greatest, allowed)
        if scheme.symmetric:
            high = max(-low, high)
            low = -high
        low, high = max(low, min(observed.low, 0.0)), min(high, max(observed.high, 0.0))
        return low + 0.0, high + 0.0  # no -0.0


def with_parameter(text: str) -> SamplePercentile:
    """`samples:TEXT`.

    Raises:
        UsageError: It is not a number above 50 and at most 100.
    """
    return SamplePercentile(parsed(text))


def propose(observed: Observed, scheme: Scheme) -> tuple[float, float]:
    """The range that covers 99 % of the samples at each end."""
    return SamplePercentile(DEFAULT).propose(observed, scheme)
