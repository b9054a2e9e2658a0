"""Models that look their answers up, for tests of metrics."""

import numpy as np

from calibration.dataset import CalibrationSet, open_dataset
from compressor.evaluation.metrics import find_metric
from compressor.evaluation.metrics.base import BASELINE, RESULT, Metric, Scores
from compressor.graph.tensors import Array, Arrays, TensorSpec


class Table:
    """A model whose input is the number of the sample."""

    def __init__(self, **outputs: Array) -> None:
        self.table = outputs
        self.asked = 0
        self.inputs = (TensorSpec("i", np.dtype(np.int64), ("n",)),)
        self.outputs = tuple(
            TensorSpec(name, array.dtype, ("n", *array.shape[1:]))
            for name, array in outputs.items()
        )

    def run(self, feeds: Arrays) -> dict[str, Array]:
        self.asked += len(feeds["i"])
        return {name: array[feeds["i"]] for name, array in self.table.items()}


def data(n: int, labels: Array | None = None) -> CalibrationSet:
    """The numbers of n samples."""
    arrays = {"i": np.arange(n)}
    return open_dataset(arrays if labels is None else {**arrays, "label": labels})


def paired(
    metric: str | Metric, before: Array | Table, after: Array | Table, labels: Array | None = None
) -> Scores:
    """Scores of two tables, in batches that do not divide the samples."""
    first, second = (one if isinstance(one, Table) else Table(y=one) for one in (before, after))
    found = find_metric(metric) if isinstance(metric, str) else metric
    n = len(next(iter(first.table.values())))
    return found.evaluate({BASELINE: first, RESULT: second}, data(n, labels), 2)


def values(metric: str, before: Array | Table, after: Array | Table, labels: Array | None = None):
    """The aggregates of both."""
    scores = paired(metric, before, after, labels)
    return tuple(float(find_metric(metric).aggregate(scores.units[k])) for k in (BASELINE, RESULT))
