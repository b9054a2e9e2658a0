"""Top-5 agreement: the share of positions where the original's choice is among the result's five.

top5_agreement = 100 · mean(rank of argmax(original) in output < 5), in percent, over the last axis
of a floating output and all positions of a sample but padding (see `kl`); ties go to the smaller
number. Higher is better.
"""

from collections.abc import Mapping

import numpy as np

from calibration.dataset import CalibrationSet
from compressor.errors import UsageError
from compressor.evaluation.classification import predicted, ranks
from compressor.evaluation.language import counted, logits_of, same_logits
from compressor.evaluation.metrics.base import (
    BASELINE,
    FloatArray,
    Metric,
    Scores,
    labelled,
    predictions,
    stack,
)
from exporters.base import Runner


class Top5Agreement(Metric):
    """100 where none of the original's choices is lost; needs no labels."""

    name = "top5_agreement"
    unit = "%"
    proportion = True
    takes_labels = True

    def evaluate(self, runners: Mapping[str, Runner], data: CalibrationSet, batch: int) -> Scores:
        """The share of positions per sample, (n, 1).

        Raises:
            UsageError: With five choices or fewer every answer would agree, or the output is no
                scores.
        """
        rows: dict[str, list[FloatArray]] = {name: [] for name in runners}
        for step, outputs in labelled(predictions(runners, data, batch)):
            original = logits_of(outputs[BASELINE], len(step), self.name)
            samples, positions, choices = original.shape
            if choices <= 5:
                raise UsageError(
                    f"metric {self.name}: expected more than five choices, the model has {choices}",
                    hint="Choose --metric agreement.",
                )
            chosen = np.maximum(predicted(original), 0).reshape(-1)
            counts = counted(step, original)
            for name, arrays in outputs.items():
                own = logits_of(arrays, len(step), self.name)
                same_logits(original, own, self.name)
                found = ranks(own.reshape(-1, choices), chosen).reshape(samples, positions) < 5
                hits, all_of = (found & counts).sum(axis=1), counts.sum(axis=1)
                share = np.where(all_of > 0, hits / np.maximum(all_of, 1), 1.0)
                rows[name].append(share[:, None])
        return stack(rows, "original")

    def aggregate(self, units: FloatArray) -> FloatArray:
        """100 · mean."""
        return np.asarray(100 * units[..., 0].mean(axis=-1))


METRIC = Top5Agreement()
