"""Coefficient of determination: how much of the spread over the samples the result explains.

r2 = 1 - Σ (r - x)² / Σ (r - mean)², over all samples and elements, the mean of each element taken
over the samples: 1 without error, 0 for an output that always is the mean, negative below that. The
reference r are the labels where they have as many values a sample as the output, else the
original's outputs. It tells what cosine cannot of an output of few elements: of one that is
positive, cosine is 1 whatever the model computes.
"""

import numpy as np

from compressor.evaluation.metrics.base import FloatArray
from compressor.evaluation.spread import SpreadMetric


class Determination(SpreadMetric):
    """1 is exact."""

    name = "r2"

    def aggregate(self, units: FloatArray) -> FloatArray:
        """1 - total error over total spread; without spread 1 if there is no error, else -inf."""
        error, spread = np.moveaxis(units.sum(axis=-2), -1, 0)
        flat = np.where(error > 0, -np.inf, 1.0)
        with np.errstate(divide="ignore", invalid="ignore"):
            return np.asarray(np.where(spread > 0, 1 - error / spread, flat))


METRIC = Determination()
