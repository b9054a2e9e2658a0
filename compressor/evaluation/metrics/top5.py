"""Top-5 accuracy: the share of samples whose label is among the five largest scores.

top5 = 100 · mean(rank(label) < 5), in percent; ties go to the smaller class number.
"""

import numpy as np

from compressor.errors import UsageError
from compressor.evaluation.classification import Classes, ClassificationMetric, ranks
from compressor.evaluation.metrics.base import FloatArray


class Top5(ClassificationMetric):
    """Hits among the first five."""

    name = "top5"
    unit = "%"
    proportion = True

    def units(self, scores: FloatArray, labels: Classes) -> FloatArray:
        """1 for a hit, 0 for a miss, (b, 1).

        Raises:
            UsageError: With five classes or fewer every answer would be a hit.
        """
        classes = scores.shape[1]
        if classes <= 5:
            raise UsageError(
                f"metric top5: expected more than five classes, the model has {classes}",
                hint="Choose --metric accuracy.",
            )
        return np.asarray(ranks(scores, labels) < 5, dtype=np.float64)[:, None]

    def aggregate(self, units: FloatArray) -> FloatArray:
        """100 · mean."""
        return np.asarray(100 * units[..., 0].mean(axis=-1))


METRIC = Top5()
