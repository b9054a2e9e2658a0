"""Mean squared error: the range whose clipping and rounding together cost the least.

    argmin over [low, high] of Σ_bins count · (x - q(x))²

Clipping a few large values makes every step finer (Banner et al. 2019, arXiv 1810.05723). The two
ends are searched together and then in turn, on a coarse grid over three decades and a fine one
around its best. 8-bit floats are rounded as they are: their steps grow with the value, so that
clipping gains next to nothing.
"""

from collections.abc import Callable

import numpy as np
import numpy.typing as npt

from calibration.histogram import Bins
from calibration.observers import Observed
from calibration.scheme import QuantParams, Scheme, dequantize, quantize

Vector = npt.NDArray[np.float64]

COARSE = 2.0 ** -np.arange(0, 10.5, 0.5)
"""Shares of the observed extreme that are tried as the clip."""
FINE = 2.0 ** np.linspace(0.45, -0.45, 19)
"""Factors around the best of them."""
ROUNDS = 2
"""Turns of each end; the error hardly moves after the second."""


def propose(observed: Observed, scheme: Scheme) -> tuple[float, float]:
    """The range with the least mean squared error; equal errors keep the wider one."""
    low, high = min(observed.low, 0.0), max(observed.high, 0.0)
    bins = observed.bins()
    if not bins.counts.size:
        return low, high
    steps = scheme.qmax - scheme.qmin
    if scheme.is_float:
        bound = _best(max(-low, high), lambda b: _float_errors(bins, b, scheme))
        return max(-bound, low), min(bound, high)
    if scheme.symmetric:
        steps = 2 * (scheme.qmax - scheme.middle)
        bound = _best(max(-low, high), lambda b: _errors(bins, -b, b, steps))
        return max(-bound, low), min(bound, high)
    # Together first: one end alone gains little while the other keeps the step wide.
    share = _best(1.0, lambda r: _errors(bins, r * low, r * high, steps))
    ends = np.array([low, high]) * share
    for _ in range(ROUNDS):
        for end, extreme in ((1, high), (0, -low)):
            if extreme > 0:
                ends[end] = _moved(bins, ends, end, extreme, steps)
    return float(ends[0]), float(ends[1])


def _moved(bins: Bins, ends: Vector, end: int, extreme: float, steps: int) -> float:
    """The best place of one end while the other is held."""
    sign = 1.0 if end else -1.0

    def errors(clips: Vector) -> Vector:
        held = np.full(clips.shape, ends[1 - end])
        low, high = (held, clips) if end else (-clips, held)
        return _errors(bins, low, high, steps)

    return sign * _best(extreme, errors)


def _best(extreme: float, errors: Callable[[Vector], Vector]) -> float:
    """The clip in (0, extreme] with the least error."""
    coarse = extreme * COARSE
    best = coarse[np.argmin(errors(coarse))]
    fine = np.minimum(best * FINE, extreme)
    return float(fine[np.argmin(errors(fine))])


def _errors(bins: Bins, low: Vector, high: Vector, steps: int) -> Vector:
    """Σ count · (x - q(x))² for each candidate range.

    A bin narrower than a step has the error of its middle. In a wider one rounding errors are
    spread evenly: step² / 12. Zero point rounding is left out.
    """
    step = ((high - low) / steps)[:, None]
    middle = (bins.lower + bins.upper) / 2
    clipped = np.clip(middle, low[:, None], high[:, None])
    rounding = np.square(clipped - np.rint(clipped / step) * step)
    wide = (bins.upper - bins.lower) >= step
    np.copyto(rounding, np.square(step) / 12, where=wide)
    cut = clipped != middle
    np.copyto(rounding, np.square(middle - clipped), where=cut)
    errors: Vector = rounding @ bins.counts
    return errors


def _float_errors(bins: Bins, bounds: Vector, scheme: Scheme) -> Vector:
    """Σ count · (x - q(x))² for each magnitude that becomes the greatest 8-bit float.

    Their steps are far wider than any bin, so that a bin has the error of its middle.
    """
    middle = ((bins.lower + bins.upper) / 2).astype(np.float32)
    scale = np.maximum(bounds / scheme.qmax, np.finfo(np.float32).tiny).astype(np.float32)
    errors = np.empty(len(scale))
    for index, one in enumerate(scale):
        params = QuantParams(scheme, one, np.zeros((), scheme.stored))
        lost = dequantize(quantize(middle, params), params).astype(np.float64) - middle
        errors[index] = np.square(lost) @ bins.counts
    return errors
