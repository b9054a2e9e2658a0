"""Histograms to look at: bins of one width around a range, and what lies far beyond in one more."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from calibration.histogram import Bins
from calibration.observers import Observed
from calibration.scheme import QuantParams

Vector = npt.NDArray[np.float64]

BINS = 126
"""Bins of one width."""
MARGIN = 0.5
"""How far beyond the range they reach at each end, in widths of the range."""


@dataclass(frozen=True)
class Coarse:
    """A histogram beside a range.

    Attributes:
        low: The least value that the integers represent.
        high: The greatest.
        clipped: Share of the elements outside by more than half a step: what lies nearer loses no
            more by being clipped than others lose by rounding.
        edges: Edges of the bins, ascending, one more than `counts`.
        counts: Elements in each bin; their sum is that of what was observed.
    """

    low: float
    high: float
    clipped: float
    edges: tuple[float, ...]
    counts: tuple[int, ...]


def coarse(observed: Observed, params: QuantParams) -> Coarse:
    """What was observed, in at most `BINS` + 2 bins, beside the range of per-tensor parameters.

    Raises:
        DataError: Only extremes were collected.
    """
    scheme, scale, zero_point = params.scheme, float(params.scale), int(params.zero_point)
    low, high = ((end - zero_point) * scale for end in (scheme.qmin, scheme.qmax))
    bins = observed.bins()
    total = float(bins.counts.sum())
    margin = scheme.last_step * scale / 2
    ends = _below(bins, np.array([low - margin, high + margin]))
    edges = _edges(observed.low, observed.high, low, high)
    # Whole numbers whose sum is exact: the cumulated counts are rounded, not the counts.
    cumulated = np.rint(_below(bins, edges))
    cumulated[0], cumulated[-1] = 0, total
    counts = np.diff(cumulated).astype(np.int64)
    at_zero = int(np.searchsorted(edges, 0.0, side="right")) - 1
    counts[min(max(at_zero, 0), len(counts) - 1)] += bins.zeros
    outside = total - float(ends[1] - ends[0])
    clipped = max(0.0, outside) / (total + bins.zeros)
    return Coarse(low, high, clipped, tuple(edges.tolist()), tuple(counts.tolist()))


def _below(bins: Bins, values: Vector) -> Vector:
    """Elements below each value, zeros left out; interpolated within a bin."""
    if not bins.counts.size:
        return np.zeros(len(values))
    ends = np.cumsum(bins.counts)
    places = np.stack([bins.lower, bins.upper], 1).reshape(-1)
    cumulated = np.stack([ends - bins.counts, ends], 1).reshape(-1)
    below: Vector = np.interp(values, places, cumulated, left=0.0, right=ends[-1])
    return below


def _edges(least: float, greatest: float, low: float, high: float) -> Vector:
    """Edges from the least to the greatest value seen, evenly as far as the margin reaches."""
    reach = MARGIN * (high - low)
    start, stop = max(least, low - reach), min(greatest, high + reach)
    if not start < stop:
        # All values are the same, or none is near the range.
        start, stop = min(least, low), max(greatest, high)
    edges = np.linspace(start, stop, BINS + 1)
    before = [least] if least < start else []
    beyond = [greatest] if greatest > stop else []
    return np.concatenate([before, edges, beyond])
