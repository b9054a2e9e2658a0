"""Macro recall: the unweighted mean over classes of how many of a class are found.

recall_c = TP_c / labelled_c, 0 for a class that is no label, averaged over the classes that are
predicted or labelled at least once, as scikit-learn's average="macro" does. From 0 to 1, higher is
better.
"""

from compressor.evaluation.confusion import MacroMean, ratio
from compressor.evaluation.metrics.base import FloatArray


class MacroRecall(MacroMean):
    """1 where every class is found whenever it is there."""

    name = "recall"

    def share(self, hits: FloatArray, guesses: FloatArray, truths: FloatArray) -> FloatArray:
        """Recall of each class."""
        del guesses
        return ratio(hits, truths)


METRIC = MacroRecall()
