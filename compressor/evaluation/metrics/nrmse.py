"""Root mean squared error in relation to the spread over the samples.

nrmse = sqrt(Σ (r - x)² / Σ (r - mean)²) = sqrt(1 - r2), over all samples and elements: 0 without
error, 1 for an output that always is the mean. See `r2` for r and the mean.
"""

import numpy as np

from compressor.evaluation.metrics.base import FloatArray
from compressor.evaluation.spread import SpreadMetric


class NormalizedError(SpreadMetric):
    """0 is exact."""

    name = "nrmse"
    higher_is_better = False

    def aggregate(self, units: FloatArray) -> FloatArray:
        """Root of error over spread; without spread 0 if there is no error, else inf."""
        error, spread = np.moveaxis(units.sum(axis=-2), -1, 0)
        flat = np.where(error > 0, np.inf, 0.0)
        with np.errstate(divide="ignore", invalid="ignore"):
            return np.asarray(np.where(spread > 0, np.sqrt(error / spread), flat))


METRIC = NormalizedError()
