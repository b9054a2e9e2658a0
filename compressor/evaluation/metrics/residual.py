"""How much of what a model changes in its input the result explains, as of denoisers.

residual = 1 - Σ (r - x)² / Σ (r - i)², over all samples and elements, r what the original computes,
x the result, and i the input of the same shape, of several the nearest. 1 without error, 0 for a
result that hands its input back, negative below that. Cosine and `r2` are high for what hands it
back, as the input is most of such an output.
"""

from collections.abc import Mapping

import numpy as np

from calibration.dataset import CalibrationSet
from compressor.errors import UsageError
from compressor.evaluation.metrics.base import (
    BASELINE,
    FloatArray,
    Scores,
    predictions,
    stack,
)
from compressor.evaluation.metrics.r2 import Determination
from compressor.evaluation.outputs import evened, is_floating, primary_output
from compressor.graph.tensors import Array
from exporters.base import Runner


class Residual(Determination):
    """1 is exact."""

    name = "residual"
    takes_labels = False

    def evaluate(self, runners: Mapping[str, Runner], data: CalibrationSet, batch: int) -> Scores:
        """Error and change of each sample, (n, 2).

        Raises:
            UsageError: No input has the shape of the primary output.
        """
        rows: dict[str, list[FloatArray]] = {name: [] for name in runners}
        for step, outputs in predictions(runners, data, batch):
            name, original = primary_output(outputs[BASELINE], len(step), self.name)
            before = nearest_input(step.inputs, original)
            if before is None:
                raise UsageError(
                    f"metric {self.name}: no floating input has the shape of output {name!r}, "
                    f"{list(original.shape)}",
                    hint="Choose --metric cosine, r2 or psnr.",
                )
            for runner, arrays in outputs.items():
                own = primary_output(arrays, len(step), self.name)[1]
                rows[runner].append(error_and_change(original, own, before))
        return stack(rows, "original")


def nearest_input(inputs: Mapping[str, Array], output: Array) -> Array | None:
    """The floating input of an output's shape; of several the one that is changed least."""
    alike = [
        array
        for array in inputs.values()
        if is_floating(array.dtype) and array.shape == output.shape
    ]
    return min(alike, key=lambda array: float(_squares(output, array).sum()), default=None)


def error_and_change(original: Array, result: Array, before: Array) -> FloatArray:
    """Σ (r - x)² and Σ (r - i)² of every sample, (b, 2)."""
    return np.stack([_squares(*evened(original, result)), _squares(original, before)], axis=1)


def _squares(one: Array, other: Array) -> FloatArray:
    """Σ (a - b)² of each row; what is infinite or NaN in both is no error."""
    a, b = (array.reshape(len(array), -1).astype(np.float64) for array in (one, other))
    with np.errstate(invalid="ignore", over="ignore"):
        difference = np.where((a == b) | (np.isnan(a) & np.isnan(b)), 0.0, a - b)
        return np.asarray(np.einsum("ij,ij->i", difference, difference))


METRIC = Residual()
