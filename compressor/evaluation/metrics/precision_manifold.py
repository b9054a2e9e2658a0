"""Precision of a generator: the share of what it makes that lies where the original's samples do.

precision_manifold = 100 · mean(f(x) is in the manifold of the original's features), in percent: the
union of balls around the features of the original on other inputs, each as wide as to its third
neighbour (Kynkäänniemi et al. 2019, equation 2). Higher is better. It falls where samples are of
poor quality; what is missing shows in `recall_manifold`.
"""

from compressor.evaluation.distributions import DistributionMetric, Estimate, Sets
from compressor.evaluation.manifolds import share_within


class ManifoldPrecision(DistributionMetric):
    """100 is all within."""

    name = "precision_manifold"
    unit = "%"

    def estimate(self, sets: Sets) -> Estimate:
        """The share of all samples, and without each block."""
        return share_within(sets.own, sets.blocks, sets.reference, sets.others)


METRIC = ManifoldPrecision()
