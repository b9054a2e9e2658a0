"""Confidence intervals of paired differences in quality; those of speed are in `pairing`.

All are 95 % and two-sided. Resampling is seeded: the same measurements give the same interval.
"""

import math
from collections.abc import Callable

import numpy as np
import numpy.typing as npt
from scipy.optimize import bisect, brentq
from scipy.special import ndtr, ndtri, stdtrit  # scipy.stats takes a second to import

from compressor.results.records import Interval

FloatArray = npt.NDArray[np.float64]

LEVEL = 0.95
RESAMPLES = 2000
LEAST_UNITS = 20
"""Units below which the mean of a loss is not bounded."""
_CHUNK = 2**21  # elements that are resampled at a time: bounds memory, keeps numpy busy


def significant(interval: Interval | None, null: float = 0.0) -> bool:
    """Whether the interval excludes `null`: 0 for a difference, 1 for a ratio.

    What has no interval is not significant.
    """
    return interval is not None and null not in interval


def paired_difference(
    aggregate: Callable[[FloatArray], FloatArray],
    baseline: FloatArray,
    result: FloatArray,
    *,
    seed: int,
) -> Interval | None:
    """Bootstrap interval of aggregate(result) - aggregate(baseline), resampling units.

    Args:
        aggregate: Makes values (...) of the statistics (..., n, k) of units.
        baseline: (n, k), and `result` likewise for the same units: a resample takes the same
            units from both, so that what makes a sample hard cancels.
        result: See `baseline`.
        seed: Seed of the resampling.

    Returns:
        None where fewer than two units leave nothing to resample.
    """
    if len(baseline) < 2:
        return None
    return _percentiles(_resampled(aggregate, baseline, result, seed), len(baseline))


def paired_difference_bound(
    aggregate: Callable[[FloatArray], FloatArray],
    baseline: FloatArray,
    result: FloatArray,
    *,
    seed: int,
) -> float:
    """One-sided 95 % upper bound of aggregate(result) - aggregate(baseline), resampling units.

    The expanded percentile, at half the tail: a percentile bootstrap is not centred on what it
    estimates, and a bound that is too low would break a promise where one too high costs time.
    """
    n = len(baseline)
    quantile = stdtrit(n - 1, (1 + LEVEL) / 2) * math.sqrt(n / (n - 1))
    return float(np.quantile(_resampled(aggregate, baseline, result, seed), ndtr(quantile)))


def _resampled(
    aggregate: Callable[[FloatArray], FloatArray],
    baseline: FloatArray,
    result: FloatArray,
    seed: int,
) -> FloatArray:
    n, width = baseline.shape
    rng = np.random.default_rng(seed)
    differences = []
    for count in _chunks(n * width):
        picked = rng.integers(n, size=(count, n))
        differences.append(aggregate(result[picked]) - aggregate(baseline[picked]))
    return np.concatenate(differences)


def proportion_difference(gained: int, lost: int, n: int) -> Interval:
    """Score interval of a paired difference of proportions, (gained - lost) / n.

    Tango 1998 (Statistics in Medicine 17:891-908): all δ that the score test does not reject,
        T(δ) = (gained - lost - n·δ) / sqrt(n·(2q + δ·(1 - δ))),   |T(δ)| ≤ z
    where q is the maximum likelihood estimate of the share of `lost` pairs given δ. Unlike the
    bootstrap, which says [0, 0] when no pair is discordant, it keeps its coverage when few are.
    It holds 0 exactly when McNemar's test, |gained - lost| / sqrt(gained + lost) ≤ z, accepts.

    Args:
        gained: Pairs that only the result gets right.
        lost: Pairs that only the baseline gets right.
        n: All pairs.
    """
    z = float(ndtri(0.5 + LEVEL / 2))
    estimate = (gained - lost) / n

    def bound(sign: int) -> float:
        """The root of T(δ) + sign · z; T falls with δ."""
        if abs(estimate) == 1.0 and sign * estimate > 0:
            return estimate
        inside = 1.0 - 1e-12
        low, high = (estimate, inside) if sign > 0 else (-inside, estimate)
        return float(brentq(lambda d: _tango(d, gained, lost, n) + sign * z, low, high))

    return Interval(low=bound(-1), high=bound(+1), level=LEVEL)


def proportion_loss_bound(gained: float, lost: float, n: float) -> float:
    """One-sided 95 % upper bound of a paired loss of proportions, (lost - gained) / n.

    The largest loss δ that Tango's score test does not reject, with a continuity correction of
    half a pair: without it the test accepts a loss at its edge in up to 6 % of all cases, with it
    in less than 5 % for every n from 30 to 1,000, δ from 0.5 to 15 % and share of discordant
    pairs up to a half (summed over all outcomes). With no discordant pair it is about 3.6 / n.

    Args:
        gained: Pairs that only the result gets right.
        lost: Pairs that only the baseline gets right.
        n: All pairs.
    """
    z = float(ndtri(LEVEL))
    low, high = (lost - gained) / n + 1e-9, 1.0 - 1e-9

    def excess(loss: float) -> float:
        return _tango(-loss, gained, lost, n, correction=0.5) - z

    if low >= high or excess(high) < 0:
        return 1.0
    return float(bisect(excess, low, high, xtol=1e-9))


def mean_loss_bound(losses: FloatArray, *, seed: int) -> float | None:
    """One-sided 95 % upper bound of the mean of losses of shape (n,), by the bootstrap-t.

        bound = m - t_a · s / sqrt(n),   t_a the a-quantile of (m* - m) / (s* / sqrt(n))

    over resamples (Efron and Tibshirani 1993, section 12.5). Losses against an original lean to
    the right: samples that miss the tail have a mean and a deviation that are both too small, and
    at a = 0.05 a mean at the budget's edge would pass in 7 to 11 % of samples of 20 to 50. So
    a = 0.025 · n / (n + 30), which keeps that below 5 % from the normal to the lognormal
    distribution with σ = 1. It is never below Student's t bound.

    Returns:
        None for fewer than `LEAST_UNITS`: they say too little of the tail.
    """
    n = len(losses)
    if n < LEAST_UNITS:
        return None
    mean, error = float(losses.mean()), float(losses.std(ddof=1)) / math.sqrt(n)
    rng = np.random.default_rng(seed)
    ratios = []
    for count in _chunks(n):
        picked = losses[rng.integers(n, size=(count, n))]
        centred, spread = picked.mean(axis=1) - mean, picked.std(axis=1, ddof=1) / math.sqrt(n)
        flat = spread <= 1e-12 * error
        ratio = np.divide(centred, spread, out=np.zeros_like(centred), where=~flat)
        # A resample without spread below the mean stands for a tail that was not drawn.
        ratios.append(np.where(flat & (centred < 0), -np.inf, ratio))
    tail = (1 - LEVEL) / 2 * n / (n + 30)
    quantile = float(np.quantile(np.concatenate(ratios), tail, method="lower"))
    student = float(stdtrit(n - 1, LEVEL))
    return mean + max(-quantile, student) * error if error else mean


def _tango(delta: float, gained: float, lost: float, n: float, *, correction: float = 0.0) -> float:
    """T(δ) of `proportion_difference`; zero over zero counts as zero."""
    a = 2 * n
    b = -gained - lost + (2 * n - gained + lost) * delta
    c = -lost * delta * (1 - delta)
    q = (np.sqrt(max(b * b - 4 * a * c, 0.0)) - b) / (2 * a)
    distance = gained - lost - n * delta - correction
    variance = n * (2 * q + delta * (1 - delta))
    if variance <= 0:
        return 0.0 if distance == 0 else float(np.copysign(np.inf, distance))
    return float(distance / np.sqrt(variance))


def _chunks(elements: int) -> list[int]:
    """`RESAMPLES` in parts of at most `_CHUNK` elements, at least one resample each."""
    size = max(1, min(RESAMPLES, _CHUNK // elements))
    whole, rest = divmod(RESAMPLES, size)
    return [size] * whole + ([rest] if rest else [])


def _percentiles(values: FloatArray, independent: float) -> Interval:
    """The expanded percentile interval (Hesterberg 2015, The American Statistician 69:371-386).

    A bootstrap of few observations is too narrow, by the factor between the normal quantile and
    sqrt(n / (n - 1)) times that of Student's t; the tails are moved out by as much.
    """
    n = max(independent, 2.0)
    quantile = stdtrit(n - 1, 0.5 - LEVEL / 2) * np.sqrt(n / (n - 1))
    tail = 100 * ndtr(quantile)
    low, high = np.percentile(values, [tail, 100 - tail])
    return Interval(low=float(low), high=float(high), level=LEVEL)
