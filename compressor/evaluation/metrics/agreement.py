"""Agreement with the original: the share of positions where both decide alike.

agreement = 100 · mean(argmax(output) = argmax(original)), in percent, over the last axis of a
floating output. Outputs with further axes (tokens, say) count by their share of agreeing positions
in each sample. Integers and strings, such as maps of classes, are decisions already: they agree
where they are equal. Where lengths depend on data, what only one of both has does not agree.
"""

from collections.abc import Mapping

import numpy as np

from calibration.dataset import CalibrationSet
from compressor.errors import UsageError
from compressor.evaluation.classification import predicted
from compressor.evaluation.metrics.base import (
    BASELINE,
    FloatArray,
    Metric,
    Scores,
    predictions,
    stack,
)
from compressor.evaluation.outputs import is_floating, primary_output
from compressor.graph.tensors import Array
from exporters.base import Runner


class Top1Agreement(Metric):
    """Top-1 agreement; needs no labels."""

    name = "agreement"
    unit = "%"
    proportion = True

    def evaluate(self, runners: Mapping[str, Runner], data: CalibrationSet, batch: int) -> Scores:
        """The share of agreeing positions per sample, (n, 1).

        Raises:
            UsageError: The outputs have no last axis to choose along, or different shapes.
        """
        rows: dict[str, list[FloatArray]] = {name: [] for name in runners}
        for step, outputs in predictions(runners, data, batch):
            choices = {name: self._choices(arrays, len(step)) for name, arrays in outputs.items()}
            original = choices[BASELINE]
            for name, own in choices.items():
                rows[name].append(share_alike(original, own))
        return stack(rows, "original")

    def aggregate(self, units: FloatArray) -> FloatArray:
        """100 · mean."""
        return np.asarray(100 * units[..., 0].mean(axis=-1))

    def _choices(self, outputs: Mapping[str, Array], samples: int) -> Array:
        """The chosen index at every position, (samples, positions)."""
        name, array = next(iter(outputs.items()))
        if len(outputs) == 1 and not is_floating(array.dtype):
            return self._decisions(name, array, samples)
        name, array = primary_output(outputs, samples, self.name)
        if array.ndim < 2 or array.shape[-1] < 2:
            raise UsageError(
                f"metric {self.name}: expected an output with at least two values to choose "
                f"from, found {name!r} of shape {list(array.shape)}",
                hint="Choose --metric cosine, which takes any shape.",
            )
        return predicted(array.astype(np.float64)).reshape(samples, -1)

    def _decisions(self, name: str, array: Array, samples: int) -> Array:
        """An output that holds decisions, (samples, positions)."""
        if samples == 1:
            return array.reshape(1, -1)
        if array.ndim == 0 or len(array) != samples:
            raise UsageError(
                f"metric {self.name}: expected one row for each of the {samples} samples, found "
                f"{name!r} of shape {list(array.shape)}",
                hint="Write --metric file.py:function to score outputs of another form.",
            )
        return array.reshape(samples, -1)


def share_alike(original: Array, own: Array) -> FloatArray:
    """The share of positions that are equal, of the longer of both, (b, 1)."""
    shared = min(original.shape[1], own.shape[1])
    longest = max(original.shape[1], own.shape[1], 1)
    same = np.count_nonzero(original[:, :shared] == own[:, :shared], axis=1)
    empty = original.shape[1] == own.shape[1] == 0
    return np.asarray(np.where(empty, 1.0, same / longest)[:, None])


METRIC = Top1Agreement()
