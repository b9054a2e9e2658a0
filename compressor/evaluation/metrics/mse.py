"""Mean squared error: against targets where the data has them, else against the original.

mse = Σ (r - x)² / number of values, over all samples and values. Labels are targets when they
have as many values per sample as the output; then only that output is scored.
"""

import numpy as np

from compressor.evaluation.fidelity import FidelityMetric, Sums
from compressor.evaluation.metrics.base import FloatArray


class MeanSquaredError(FidelityMetric):
    """0 is exact."""

    name = "mse"
    higher_is_better = False
    takes_labels = True

    def units(self, sums: Sums) -> FloatArray:
        """Error and number of values, (b, 2)."""
        return np.stack([sums.error, sums.count], axis=1)

    def aggregate(self, units: FloatArray) -> FloatArray:
        """Total error over total count."""
        error, count = np.moveaxis(units.sum(axis=-2), -1, 0)
        return np.asarray(error / count)


METRIC = MeanSquaredError()
