"""Diversity: how far apart generated samples are, in relation to the original's.

diversity = mean |f(x) - f(x')| / mean |f(r) - f(r')|, Euclidean distances between the features of
all pairs of different samples: x of the result, r of the original on other inputs. 1 is as diverse
as the original; below it is what mode collapse leaves. Higher is better, without a unit. The
mean distance of pairs is the diversity of Zhu et al. 2017 (BicycleGAN, section 5), there of LPIPS.
"""

import numpy as np

from compressor.evaluation.distributions import (
    DistributionMetric,
    Estimate,
    Sets,
    distances,
    left,
    pair_sums,
    without_each,
)
from compressor.evaluation.jackknife import Indices
from compressor.evaluation.metrics.base import FloatArray


class Diversity(DistributionMetric):
    """1 is the original's."""

    name = "diversity"

    def estimate(self, sets: Sets) -> Estimate:
        """The ratio of all samples, and without each block."""
        own = _mean_distance(sets.own, sets.blocks)
        reference = _mean_distance(sets.reference, sets.others)
        with np.errstate(divide="ignore", invalid="ignore"):
            return Estimate(
                float(np.divide(own.whole, reference.whole)), own.without / reference.without
            )


def _mean_distance(rows: FloatArray, blocks: list[Indices]) -> Estimate:
    """Mean distance of pairs of different samples: what each has to itself is 0."""
    rows = rows - rows.mean(axis=0)
    total, without = without_each(pair_sums(rows, rows, blocks, blocks, distances))
    n, remaining = len(rows), left(blocks)
    return Estimate(total / (n * (n - 1)), without / (remaining * (remaining - 1)))


METRIC = Diversity()
