"""Metrics that are the mean of one figure a sample, of all outputs of a model by itself."""

from abc import abstractmethod
from collections.abc import Mapping

import numpy as np

from calibration.batch import Batch
from calibration.dataset import CalibrationSet
from compressor.evaluation.metrics.base import FloatArray, Metric, Scores, predictions, stack
from compressor.graph.tensors import Array
from exporters.base import Runner


class SampleMean(Metric):
    """Base of metrics that score a model by what it returns and is given, without the original."""

    whole = True

    @abstractmethod
    def of(self, outputs: Mapping[str, Array], step: Batch) -> FloatArray:
        """The figure of every sample, (b,)."""

    def evaluate(self, runners: Mapping[str, Runner], data: CalibrationSet, batch: int) -> Scores:
        """One figure a sample, (n, 1).

        Raises:
            UsageError: Outputs that it takes are missing.
        """
        rows: dict[str, list[FloatArray]] = {name: [] for name in runners}
        for step, outputs in predictions(runners, data, batch):
            for name, arrays in outputs.items():
                rows[name].append(self.of(arrays, step)[:, None])
        return stack(rows, "labels")

    def aggregate(self, units: FloatArray) -> FloatArray:
        """Mean."""
        return np.asarray(units[..., 0].mean(axis=-1))
