"""Cosine similarity to the original's outputs, the mean over samples.

cosine = mean(Σ r·x / sqrt(Σ r² · Σ x²)), the output of a sample taken as one vector. Two zero
vectors have 1, a zero and another vector 0. Of one element it is the sign alone: see `r2`.
"""

import numpy as np

from compressor.evaluation.fidelity import FidelityMetric, Sums
from compressor.evaluation.metrics.base import FloatArray


class Cosine(FidelityMetric):
    """1 is the same direction."""

    name = "cosine"

    def units(self, sums: Sums) -> FloatArray:
        """The cosine of each sample, (b, 1)."""
        # Two roots, as the product of the squares may leave the range of float64.
        norms = np.sqrt(sums.reference) * np.sqrt(sums.output)
        both_zero = (sums.reference == 0) & (sums.output == 0)
        cosine = np.divide(sums.product, norms, out=both_zero.astype(float), where=norms != 0)
        return np.asarray(np.clip(cosine, -1, 1)[:, None])

    def aggregate(self, units: FloatArray) -> FloatArray:
        """Mean."""
        return np.asarray(units[..., 0].mean(axis=-1))


METRIC = Cosine()
