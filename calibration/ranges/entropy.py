"""Entropy: the clip whose quantized distribution diverges least from the one that was seen.

    argmin over the clip of KL(P ‖ Q): P is the histogram up to the clip with everything beyond it
    added to its last bin, Q is P without that, averaged within each of the integer levels

Migacz 2017, "8-bit inference with TensorRT" (GTC S7310), with three differences. Levels are the
scheme's (256 for an asymmetric range from 0), and bins divide among them evenly, not by whole
numbers. Zeros are left out, because every candidate represents them exactly. The search begins at
a multiple of the 99.9th percentile where the extreme lies beyond it, and goes on below its least
candidate when that wins, so that one far outlier does not leave all else in a few bins.

Levels of one width are what 8-bit floats do not have: of those the range is what was seen.
"""

import numpy as np
import numpy.typing as npt

from calibration.histogram import Bins
from calibration.observers import Observed
from calibration.ranges.percentile import cut
from calibration.scheme import Scheme

Vector = npt.NDArray[np.float64]

FINE_BINS = 2048
FARTHEST = 32.0
"""The greatest clip that is tried, in 99.9th percentiles."""
STRIDE = 4
"""Fine bins between candidate clips."""
ZOOMS = 12
"""Times that the search goes on below its least candidate, an eighth of what was there before."""
FLOOR = 1e-4
"""Elements in an empty level that the clip falls into, so that its divergence is finite."""


def propose(observed: Observed, scheme: Scheme) -> tuple[float, float]:
    """The range with the least divergence; the two ends of an asymmetric one in turn."""
    low, high = min(observed.low, 0.0), max(observed.high, 0.0)
    bins = observed.bins()
    if not bins.counts.size or scheme.is_float:
        return low, high
    if scheme.symmetric:
        bound = _clip(bins.magnitudes(), 0.0, max(-low, high), scheme.qmax - scheme.middle + 1)
        return max(-bound, low), min(bound, high)
    levels = scheme.qmax - scheme.qmin + 1
    if high > 0:
        high = _clip(bins, low, high, levels)
    if low < 0:
        low = -_clip(bins.mirrored(), -high, -low, levels)
    return low, high


def _clip(bins: Bins, low: float, high: float, levels: int) -> float:
    """The best upper end, with the lower end held; never below zero."""
    # Between bins there is nothing, so the distribution function is flat there.
    xs = np.stack([bins.lower, bins.upper], 1).reshape(-1)
    below = np.cumsum(bins.counts)
    ys = np.stack([below - bins.counts, below], 1).reshape(-1)
    ordinary = cut(bins, 1e-3 * float(below[-1]))
    if ordinary > 0:
        high = min(high, FARTHEST * ordinary)
    for _ in range(ZOOMS):
        fine = np.linspace(low, high, FINE_BINS + 1)
        mass = np.diff(np.interp(fine, xs, ys, left=0.0, right=below[-1]))
        beyond = below[-1] - float(np.interp(high, xs, ys, left=0.0, right=below[-1]))
        candidates = np.arange(levels, FINE_BINS + 1, STRIDE)
        candidates = candidates[fine[candidates] > 0]
        if not candidates.size or mass.sum() + beyond <= 0:  # bins too narrow for a number
            break
        divergence = _divergences(mass, beyond, candidates, levels)
        best = len(candidates) - 1 - int(np.argmin(divergence[::-1]))
        high = float(fine[candidates[best]])
        if best > 0 or candidates[0] != levels:
            break
    return high


def _divergences(
    mass: Vector, beyond: float, candidates: npt.NDArray[np.int64], levels: int
) -> Vector:
    """KL(P ‖ Q) of each candidate: how many of the fine bins stay below the clip.

    With sums over bins prepared, a candidate costs one pass over its levels, not over its bins:
    Q is constant within a level, so Σ P log Q needs only the level's mass S and filled bins n.
    """
    filled = _summed((mass > 0).astype(np.float64))
    total = _summed(mass)
    own = _summed(_xlogx(mass))
    ends = candidates[:, None] * np.arange(levels + 1) // levels
    level_mass = np.diff(total[ends], axis=1)
    level_filled = np.diff(filled[ends], axis=1)
    with np.errstate(divide="ignore", invalid="ignore"):
        log_q = np.log(level_mass / level_filled)
    log_q[level_mass <= 0] = np.log(FLOOR)
    inside = total[candidates]
    whole = total[-1] + beyond
    outliers = whole - inside
    last = mass[candidates - 1]
    p_log_p = own[candidates] - _xlogx(last) + _xlogx(last + outliers)
    p_log_q = np.einsum("cl,cl->c", level_mass, log_q) + outliers * log_q[:, -1]
    divergence: Vector = (p_log_p - p_log_q) / whole + np.log(np.maximum(inside, FLOOR) / whole)
    return divergence


def _summed(values: Vector) -> Vector:
    return np.concatenate([[0.0], np.cumsum(values)])


def _xlogx(values: Vector) -> Vector:
    return values * np.log(np.where(values > 0, values, 1.0))
