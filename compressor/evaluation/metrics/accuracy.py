"""Top-1 accuracy: the share of samples whose label has the largest score.

accuracy = 100 · mean(argmax(scores) = label), in percent.
"""

import numpy as np

from compressor.evaluation.classification import Classes, ClassificationMetric, ranks
from compressor.evaluation.metrics.base import FloatArray


class Accuracy(ClassificationMetric):
    """Hits among samples."""

    name = "accuracy"
    unit = "%"
    proportion = True

    def units(self, scores: FloatArray, labels: Classes) -> FloatArray:
        """1 for a hit, 0 for a miss, (b, 1)."""
        return np.asarray(ranks(scores, labels) == 0, dtype=np.float64)[:, None]

    def aggregate(self, units: FloatArray) -> FloatArray:
        """100 · mean."""
        return np.asarray(100 * units[..., 0].mean(axis=-1))


METRIC = Accuracy()
