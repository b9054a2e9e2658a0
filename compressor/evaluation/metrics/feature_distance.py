"""Distance of result and original in the features of a model, the mean over samples.

feature_distance = mean |f(x) - f(r)|, the Euclidean distance between the features of the result's
and of the original's output for the same input or seed (a perceptual distance, as Johnson, Alahi
and Fei-Fei 2016, section 3.2, with the features of `--features`). Lower is better, in units of the
features; the original's own is 0, so that a budget is in points.
"""

from collections.abc import Mapping

import numpy as np

from calibration.dataset import CalibrationSet
from compressor.evaluation.distributions import FeatureMetric
from compressor.evaluation.metrics.base import BASELINE, FloatArray, Scores, predictions, stack
from exporters.base import Runner


class FeatureDistance(FeatureMetric):
    """0 is the same."""

    name = "feature_distance"
    higher_is_better = False
    relative = False

    def evaluate(self, runners: Mapping[str, Runner], data: CalibrationSet, batch: int) -> Scores:
        """The distance of each sample, (n, 1).

        Raises:
            UsageError: There is no feature space, or it does not take the outputs.
        """
        rows: dict[str, list[FloatArray]] = {name: [] for name in runners}
        for step, outputs in predictions(runners, data, batch):
            original = self.features(outputs[BASELINE], len(step))
            for name, arrays in outputs.items():
                apart = self.features(arrays, len(step)) - original
                rows[name].append(np.linalg.norm(apart, axis=1, keepdims=True))
        return stack(rows, "original")

    def aggregate(self, units: FloatArray) -> FloatArray:
        """Mean."""
        return np.asarray(units[..., 0].mean(axis=-1))


METRIC = FeatureDistance()
