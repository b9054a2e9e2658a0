"""Macro F1: the unweighted mean of the F1 of every class.

F1_c = 2·TP_c / (2·TP_c + FP_c + FN_c) = 2·TP_c / (predicted_c + labelled_c), averaged over the
classes that are predicted or labelled at least once, as scikit-learn's average="macro" does.
From 0 to 1.
"""

from compressor.evaluation.confusion import MacroMean, ratio
from compressor.evaluation.metrics.base import FloatArray


class MacroF1(MacroMean):
    """Balance of precision and recall, every class counting alike."""

    name = "f1"

    def share(self, hits: FloatArray, guesses: FloatArray, truths: FloatArray) -> FloatArray:
        """F1 of each class."""
        return ratio(2 * hits, guesses + truths)


METRIC = MacroF1()
