"""Fréchet distance between what result and original generate, in the features of a model.

fid = |μ - ν|² + tr(S + T - 2·(S^½·T·S^½)^½), with mean and covariance (μ, S) of the original's
features on other inputs and (ν, T) of the result's: the squared Wasserstein distance of two normal
distributions (Heusel et al. 2017, section 2, there with Inception v3). Lower is better, in squared
units of the features. It is biased: of n samples the original has a floor of its own above 0, which
falls as 1 / n and grows with the square of the number of features d. Fewer than 3·d samples prove
nothing: covariances of d samples or fewer are singular.
"""

import numpy as np

from compressor.evaluation.distributions import DistributionMetric, Estimate, Sets
from compressor.evaluation.intervals import LEAST_UNITS
from compressor.evaluation.jackknife import Indices
from compressor.evaluation.metrics.base import FloatArray

_WIDE = 512

Moments = tuple[FloatArray, FloatArray]
"""Mean (d,) and covariance (d, d)."""


class FrechetDistance(DistributionMetric):
    """0 is the same mean and covariance."""

    name = "fid"
    higher_is_better = False
    falls = True

    def fewest(self, width: int) -> int:
        """Three times as many samples as features."""
        return max(super().fewest(width), 3 * width)

    def blocks(self, width: int) -> int:
        """As few as are bounded where each takes seconds: it goes with the cube of the features."""
        return super().blocks(width) if width <= _WIDE else LEAST_UNITS

    def estimate(self, sets: Sets) -> Estimate:
        """The distance of all samples, and without each block."""
        whole, *without = (
            frechet_distance(one, other)
            for one, other in zip(
                moments(sets.reference, sets.others), moments(sets.own, sets.blocks), strict=True
            )
        )
        return Estimate(whole, np.array(without))


def moments(rows: FloatArray, blocks: list[Indices]) -> list[Moments]:
    """Mean and unbiased covariance of all rows, then those without each block.

    From sums over blocks of rows whose mean was taken off first, so that nothing cancels.
    """
    centre = rows.mean(axis=0)
    parts = [rows[block] - centre for block in blocks]
    sums = [(len(part), part.sum(axis=0), part.T @ part) for part in parts]
    n, first, second = (
        len(rows),
        sum(part[1] for part in sums),
        sum(part[2] for part in sums),
    )

    def made(count: int, one: FloatArray, two: FloatArray) -> Moments:
        mean = one / count
        return centre + mean, (two - count * np.outer(mean, mean)) / max(count - 1, 1)

    return [
        made(n, np.asarray(first), np.asarray(second)),
        *(made(n - count, first - one, second - two) for count, one, two in sums),
    ]


def frechet_distance(reference: Moments, own: Moments) -> float:
    """The distance of two normal distributions.

    The trace of the root of a product is the sum of the roots of the eigenvalues of S^½·T·S^½,
    which is symmetric, so that no root of a general matrix is taken.
    """
    (mean, covariance), (other_mean, other_covariance) = reference, own
    values, vectors = np.linalg.eigh(covariance)
    root = (vectors * np.sqrt(np.clip(values, 0, None))) @ vectors.T
    product = root @ other_covariance @ root
    shared = np.sqrt(np.clip(np.linalg.eigvalsh((product + product.T) / 2), 0, None)).sum()
    apart = float(((mean - other_mean) ** 2).sum())
    return apart + float(np.trace(covariance) + np.trace(other_covariance) - 2 * shared)


METRIC = FrechetDistance()
