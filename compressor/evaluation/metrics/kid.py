"""Kernel distance between what result and original generate, in the features of a model.

kid = mean k(x, x') + mean k(r, r') - 2·mean k(x, r), with k(a, b) = (a·b / d + 1)³ over all pairs
of different samples: the unbiased squared maximum mean discrepancy with the cubic polynomial
kernel (Bińkowski et al. 2018, section 4), of all samples at once instead of the mean over subsets.
x are the result's features, r the original's on other inputs. Lower is better, without a unit. The
original's own value is 0 but for chance, and may be below, so that a budget is in points.
"""

import numpy as np

from compressor.evaluation.distributions import (
    DistributionMetric,
    Estimate,
    Sets,
    left,
    pair_sums,
    without_each,
)
from compressor.evaluation.jackknife import Indices
from compressor.evaluation.metrics.base import FloatArray


class KernelDistance(DistributionMetric):
    """0 is the same distribution."""

    name = "kid"
    higher_is_better = False
    relative = False

    def estimate(self, sets: Sets) -> Estimate:
        """The distance of all samples, and without each block."""
        own = _within(sets.own, sets.blocks)
        reference = _within(sets.reference, sets.others)
        sums = pair_sums(sets.own, sets.reference, sets.blocks, sets.others, cubic)
        total, without = without_each(sums)
        across = total / (len(sets.own) * len(sets.reference))
        return Estimate(
            own.whole + reference.whole - 2 * across,
            own.without + reference.without - 2 * without / (left(sets.blocks) * left(sets.others)),
        )


def _within(rows: FloatArray, blocks: list[Indices]) -> Estimate:
    """Mean of the kernel over pairs of different samples."""
    total, without = without_each(pair_sums(rows, rows, blocks, blocks, cubic))
    own = (rows * rows).sum(axis=1)
    with_itself = (own / rows.shape[1] + 1) ** 3
    n, remaining = len(rows), left(blocks)
    whole = (total - with_itself.sum()) / (n * (n - 1))
    each = with_itself.sum() - [with_itself[block].sum() for block in blocks]
    return Estimate(float(whole), (without - each) / (remaining * (remaining - 1)))


def cubic(one: FloatArray, other: FloatArray) -> FloatArray:
    """(a·b / d + 1)³ of every pair."""
    return np.asarray((one @ other.T / one.shape[1] + 1) ** 3)


METRIC = KernelDistance()
