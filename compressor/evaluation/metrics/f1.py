"""Macro F1: the unweighted mean of the F1 of every class.

F1_c = 2·TP_c / (2·TP_c + FP_c + FN_c) = 2·TP_c / (predicted_c + labelled_c), averaged over the
classes that are predicted or labelled at least once, as scikit-learn's average="macro" does.
From 0 to 1.
"""

import numpy as np

from compressor.evaluation.classification import Classes, ClassificationMetric, predicted
from compressor.evaluation.metrics.base import FloatArray


class MacroF1(ClassificationMetric):
    """Balance of precision and recall, every class counting alike."""

    name = "f1"

    def units(self, scores: FloatArray, labels: Classes) -> FloatArray:
        """Predicted and labelled class, (b, 2); -1 for a prediction of NaN."""
        return np.stack([predicted(scores), labels], axis=1).astype(float)

    def aggregate(self, units: FloatArray) -> FloatArray:
        """Count per resample and class in one pass: class c of resample i is bin i·C + c."""
        pairs = units.astype(np.int64) + 1  # class 0 is "no answer" from here on
        resamples = pairs.reshape(-1, *pairs.shape[-2:])
        classes = int(pairs.max(initial=0)) + 1
        bins = np.arange(len(resamples))[:, None] * classes
        guess, truth = resamples[..., 0] + bins, resamples[..., 1] + bins

        def count(values: "np.ndarray[tuple[int, ...], np.dtype[np.int64]]") -> FloatArray:
            counts = np.bincount(values.ravel(), minlength=len(resamples) * classes)
            return counts.reshape(len(resamples), classes)[:, 1:].astype(float)

        hits, present = count(guess[guess == truth]), count(guess) + count(truth)
        f1 = np.divide(2 * hits, present, out=np.zeros_like(hits), where=present > 0)
        mean = f1.sum(axis=1) / np.maximum(np.count_nonzero(present, axis=1), 1)
        return np.asarray(mean.reshape(units.shape[:-2]))


METRIC = MacroF1()
