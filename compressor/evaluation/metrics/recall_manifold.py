"""Recall of a generator: the share of the original's samples that lie where it makes some.

recall_manifold = 100 · mean(f(r) is in the manifold of the result's features), in percent, r what
the original makes of other inputs: the union of balls around the result's features, each as wide as
to its third neighbour (Kynkäänniemi et al. 2019, equation 2). Higher is better. It falls where the
result no longer makes a part of what the original does.
"""

from compressor.evaluation.distributions import DistributionMetric, Estimate, Sets
from compressor.evaluation.manifolds import share_within


class ManifoldRecall(DistributionMetric):
    """100 is all within."""

    name = "recall_manifold"
    unit = "%"

    def estimate(self, sets: Sets) -> Estimate:
        """The share of all samples, and without each block."""
        return share_within(sets.reference, sets.others, sets.own, sets.blocks)


METRIC = ManifoldRecall()
