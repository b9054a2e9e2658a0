"""Counts of predicted and labelled classes, and the mean over classes of what is made of them."""

from abc import abstractmethod

import numpy as np

from compressor.evaluation.classification import Classes, ClassificationMetric, predicted
from compressor.evaluation.metrics.base import FloatArray


class MacroMean(ClassificationMetric):
    """Base of metrics that average a share of every class that is predicted or labelled."""

    @abstractmethod
    def share(self, hits: FloatArray, guesses: FloatArray, truths: FloatArray) -> FloatArray:
        """The share of each class: right ones, those predicted, those labelled; (..., classes)."""

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

        hits, guesses, truths = count(guess[guess == truth]), count(guess), count(truth)
        present = np.count_nonzero(guesses + truths, axis=1)
        mean = self.share(hits, guesses, truths).sum(axis=1) / np.maximum(present, 1)
        return np.asarray(mean.reshape(units.shape[:-2]))


def ratio(part: FloatArray, whole: FloatArray) -> FloatArray:
    """Part / whole, 0 where there is nothing."""
    return np.asarray(np.divide(part, whole, out=np.zeros_like(part), where=whole > 0))
