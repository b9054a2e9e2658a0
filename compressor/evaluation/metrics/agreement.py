"""Agreement with the original: the share of positions where both have the same largest value.

agreement = 100 · mean(argmax(output) = argmax(original)), in percent, over the last axis of the
output named `logits` or `output`, else of the first floating one. Outputs with further axes
(tokens, say) count by their share of agreeing positions in each sample.
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
from compressor.evaluation.outputs import primary_output
from compressor.graph.tensors import Array
from exporters.base import Runner


class Agreement(Metric):
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
                if own.shape != original.shape:
                    raise UsageError(
                        f"metric {self.name}: the outputs of the two models do not correspond"
                    )
                rows[name].append((own == original).mean(axis=1, keepdims=True))
        return stack(rows, "original")

    def aggregate(self, units: FloatArray) -> FloatArray:
        """100 · mean."""
        return np.asarray(100 * units[..., 0].mean(axis=-1))

    def _choices(self, outputs: Mapping[str, Array], samples: int) -> Array:
        """The chosen index at every position, (samples, positions)."""
        name, array = primary_output(outputs, samples, self.name)
        if array.ndim < 2 or array.shape[-1] < 2:
            raise UsageError(
                f"metric {self.name}: expected an output with at least two values to choose "
                f"from, found {name!r} of shape {list(array.shape)}",
                hint="Choose --metric cosine, which takes any shape.",
            )
        return predicted(array.astype(np.float64)).reshape(samples, -1)


METRIC = Agreement()
