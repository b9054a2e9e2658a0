"""chrF: the F-score of runs of one to six characters, or tokens, that result and reference share.

chrf = 100 · 5·P·R / (4·P + R): P is the mean over n = 1 … 6 of the share of the result's runs of n
that the reference has, R of the reference's that the result has, recall counting twice; orders that
one of both has none of are left out (Popović 2015; β = 2 as in sacrebleu). Spaces do not count. In
percent, higher is better. The reference are labels that are texts or tokens, else what the original
generates.
"""

from collections.abc import Sequence

import numpy as np

from compressor.evaluation.metrics.base import FloatArray
from compressor.evaluation.ngrams import SequenceMetric, shared

ORDERS = range(1, 7)
BETA = 2


class ChrF(SequenceMetric):
    """100 is the same."""

    name = "chrf"

    def counts(self, reference: Sequence[object], own: Sequence[object]) -> list[float]:
        """Shared runs, those of the reference, own runs, for each order in turn."""
        one, other = (
            "".join(sequence.split()) if isinstance(sequence, str) else sequence
            for sequence in (reference, own)
        )
        counts: list[float] = []
        for order in ORDERS:
            both, expected, found = shared(one, other, order)
            # Runs are no errors where the reference is too short for any, as in sacrebleu.
            counts += [both, expected, found if expected else 0.0]
        return counts

    def aggregate(self, units: FloatArray) -> FloatArray:
        """Of the sums over all samples."""
        sums = units.sum(axis=-2)
        both, expected, found = sums[..., 0::3], sums[..., 1::3], sums[..., 2::3]
        effective = (expected > 0) & (found > 0)
        orders = np.maximum(effective.sum(axis=-1), 1)

        def mean(total: FloatArray) -> FloatArray:
            share = np.divide(both, total, out=np.zeros_like(both), where=effective)
            return np.asarray(share.sum(axis=-1) / orders)

        precision, recall = mean(found), mean(expected)
        denominator = BETA**2 * precision + recall
        score = (1 + BETA**2) * precision * recall
        return np.asarray(
            100 * np.divide(score, denominator, out=np.zeros_like(score), where=denominator > 0)
        )


METRIC = ChrF()
