"""A metric the user wrote: `--metric file.py:function`.

    def word_error(outputs, labels):
        "outputs: name → array with one row per sample; labels: array, or None without labels."
        return scores                    # (samples,), or one number for the batch

    word_error.higher_is_better = False  # True where it is not said
    word_error.unit = "%"                # none where it is not said

It is called per batch. One score per sample is best: then samples are what is resampled for the
interval. One number per batch makes batches the units, weighted by their samples. The metric is
the mean. An object that is a `Metric` is taken as it is.
"""

from collections.abc import Callable, Mapping

import numpy as np

from calibration.dataset import CalibrationSet
from compressor.errors import UsageError
from compressor.evaluation.metrics.base import FloatArray, Metric, Outputs, Scores, predictions
from compressor.graph.tensors import Array
from compressor.system.userfile import user_errors
from exporters.base import Runner

MetricFunction = Callable[[Outputs, Array | None], object]


class FunctionMetric(Metric):
    """The mean of what a function says of all outputs.

    Args:
        function: Makes scores (samples,), or one number, of a batch's outputs and labels.
        name: Its name in reports and messages.
    """

    whole = True

    def __init__(self, function: MetricFunction, name: str) -> None:
        self.name = name
        self.unit = str(getattr(function, "unit", ""))
        self.higher_is_better = bool(getattr(function, "higher_is_better", True))
        self._function = function

    def evaluate(self, runners: Mapping[str, Runner], data: CalibrationSet, batch: int) -> Scores:
        """Call the function for every runner and batch; rows are (score, weight).

        Raises:
            UsageError: The function fails, or returns something else than it should.
        """
        rows: dict[str, list[FloatArray]] = {name: [] for name in runners}
        samples = 0
        for step, outputs in predictions(runners, data, batch):
            samples += len(step)
            for name, arrays in outputs.items():
                rows[name].append(self._score(arrays, step.labels, len(step)))
        units = {name: np.concatenate(parts) for name, parts in rows.items()}
        if len({len(of_one) for of_one in units.values()}) > 1:
            raise UsageError(
                f"metric {self.name}: returned one number for some models and one score per "
                "sample for others"
            )
        return Scores(units, "labels", samples)

    def aggregate(self, units: FloatArray) -> FloatArray:
        """Σ score·weight / Σ weight."""
        scores, weights = units[..., 0], units[..., 1]
        return np.asarray((scores * weights).sum(axis=-1) / weights.sum(axis=-1))

    def _score(self, outputs: Outputs, labels: Array | None, samples: int) -> FloatArray:
        with user_errors(f"metric {self.name}"):
            answer = self._function(outputs, labels)
        if hasattr(answer, "detach"):  # a torch tensor, without importing torch
            answer = answer.detach().cpu().numpy()
        try:
            scores = np.asarray(answer, dtype=np.float64)
        except (TypeError, ValueError):
            scores = np.empty((0, 0))
        if scores.ndim == 0:
            return np.array([[float(scores), float(samples)]])
        if scores.shape != (samples,):
            found = f"shape {list(np.shape(scores))}" if scores.size else repr(answer)[:80]
            raise UsageError(
                f"metric {self.name}: expected {samples} scores, one per sample, or one number, "
                f"found {found}"
            )
        return np.stack([scores, np.ones(samples)], axis=1)


def metric_of(thing: object, name: str) -> Metric:
    """The metric that an object of the user's is or makes.

    Raises:
        UsageError: It is neither a function nor a `Metric`.
    """
    if isinstance(thing, Metric):
        return thing
    if isinstance(thing, type) or not callable(thing):
        raise UsageError(
            f"metric {name}: expected a function of (outputs, labels), found {type(thing).__name__}"
        )
    return FunctionMetric(thing, name)
