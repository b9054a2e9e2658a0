"""Macro precision: the unweighted mean over classes of how often a predicted class is right.

precision_c = TP_c / predicted_c, 0 for a class that is never predicted, averaged over the classes
that are predicted or labelled at least once, as scikit-learn's average="macro" does. From 0 to 1,
higher is better.
"""

from compressor.evaluation.confusion import MacroMean, ratio
from compressor.evaluation.metrics.base import FloatArray


class MacroPrecision(MacroMean):
    """1 where every prediction is right."""

    name = "precision"

    def share(self, hits: FloatArray, guesses: FloatArray, truths: FloatArray) -> FloatArray:
        """Precision of each class."""
        del truths
        return ratio(hits, guesses)


METRIC = MacroPrecision()
