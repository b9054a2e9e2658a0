"""The ratio of two latencies that were taken in turn, with an interval that holds.

Of x = log(baseline / result) in each round the median is the estimate. Neighbouring rounds are
slow together, but their ratio hardly is: what is left of that is in the batches that the interval
is taken from, b ≤ 10 stretches of rounds with medians m,

    h = t(1 - α/2; b - 1) · sd(m) / √b,     α = 0.0158

A measurement that may stop at five looks has five chances to be wrong; with that α at each look
all of them together keep to 5 % (Pocock 1977). No sampling interval covers the truth by itself,
however: the ratio wanders by a percent or two from one second to the next, more where others work
(docs/report.md). An error of 3 %, and of 4 % times the share that others took, is added:

    H² = h² + log(1 + 0.03 + 0.04 · foreign)²

It is the ratio on the core as it was. Where too few rounds had the core to themselves (`pace`), it
is not that of a whole core: beside a neighbour each model is slower by a factor of its own between
1 and about the slowness, which `Conditions` tells.
"""

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.special import stdtrit  # scipy.stats takes a second to import

from compressor.results.records import Interval

FloatArray = npt.NDArray[np.float64]

ALPHA = 0.0158
"""Level of each of five looks, so that all of them together err in 5 % of races."""
BATCHES = 10
WANDER = 0.03
"""Relative error of a ratio that no number of rounds takes away: fresh sessions, warm caches."""
CROWD = 0.04
"""Such an error of a ratio measured while others keep the machine busy."""
SESSIONS = 0.12
"""Relative difference of two sessions whose several threads lie on different cores."""
CLOSE = 0.02
"""Half-width at which more rounds gain nothing."""
CLEAR = 0.05
"""Half-width that is enough where it is certain which is faster."""
_WIDEST = 20.0
"""Half-width of a logarithm's interval where two rounds contradict each other."""


@dataclass(frozen=True)
class Estimate:
    """A ratio, in logarithms.

    Attributes:
        log: The estimate.
        half: Half-width of its interval, of sampling alone.
        wide: Half-width with all that sampling does not show.
        low: How far down the interval reaches; below log - wide where sessions did.
        high: How far up the interval reaches; above log + wide where sessions did.
    """

    log: float
    half: float
    wide: float
    low: float
    high: float

    @property
    def ratio(self) -> float:
        """Baseline over result."""
        return math.exp(self.log)

    @property
    def interval(self) -> Interval:
        """Interval of the ratio."""
        return Interval(low=math.exp(self.low), high=math.exp(self.high))

    @property
    def is_enough(self) -> bool:
        """Whether more rounds would change nothing that matters."""
        certain = not self.low <= 0.0 <= self.high
        return self.half <= (CLEAR if certain else CLOSE)


def estimate(logs: FloatArray, foreign: float) -> Estimate:
    """Estimate of the ratio from one pair of sessions on one thread.

    Args:
        logs: log(baseline / result) of each round, two rounds at least, in order.
        foreign: The share of the machine that others took, 0 to 1.
    """
    middle, half = float(np.median(logs)), sampling_half(logs)
    wide = math.hypot(half, _unseen(foreign))
    return Estimate(middle, half, wide, middle - wide, middle + wide)


def estimate_of_sessions(sessions: list[FloatArray], foreign: float) -> Estimate:
    """Estimate of the ratio from several fresh pairs of sessions on several threads.

    The median of their ratios. As sessions differ by up to 12 %, an error of that over √k is added
    for k of them, and the interval reaches at least from the least to the greatest.
    """
    middles = [float(np.median(logs)) for logs in sessions]
    middle, k = float(np.median(middles)), len(sessions)
    halves = [sampling_half(logs) for logs in sessions]
    half = min(math.sqrt(sum(one**2 for one in halves)) / k, _WIDEST)
    wide = math.hypot(half, _unseen(foreign), math.log1p(SESSIONS) / math.sqrt(k))
    low, high = min(middle - wide, *middles), max(middle + wide, *middles)
    return Estimate(middle, half, wide, low, high)


def sampling_half(logs: FloatArray) -> float:
    """Half-width by Student's t over the medians of contiguous batches."""
    count = max(2, min(BATCHES, len(logs) // 2))
    if len(logs) < count:
        return _WIDEST
    medians = [float(np.median(batch)) for batch in np.array_split(logs, count)]
    spread = float(np.std(medians, ddof=1)) / math.sqrt(count)
    return min(float(stdtrit(count - 1, 1 - ALPHA / 2)) * spread, _WIDEST)


def _unseen(foreign: float) -> float:
    return math.log1p(WANDER + CROWD * foreign)
