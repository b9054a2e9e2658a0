"""How far what is generated is that of the original: the share before the first difference.

exact_match = 100 · mean(length of the common beginning / length of the longer one), in percent,
over tokens, or characters of texts: what a greedy continuation keeps until it takes another way.
Higher is better. Two that are empty are equal. Against labels where these are texts or tokens, else
against what the original generates. For the first 32 tokens alone return those.
"""

from collections.abc import Sequence

import numpy as np

from compressor.evaluation.metrics.base import FloatArray
from compressor.evaluation.ngrams import SequenceMetric


class ExactMatch(SequenceMetric):
    """100 is the same."""

    name = "exact_match"
    proportion = True

    def counts(self, reference: Sequence[object], own: Sequence[object]) -> list[float]:
        """The share that is equal before the first difference."""
        longest = max(len(reference), len(own))
        pairs = enumerate(zip(reference, own, strict=False))
        differs = (place for place, (one, other) in pairs if one != other)
        common = next(differs, min(len(reference), len(own)))
        return [common / longest if longest else 1.0]

    def aggregate(self, units: FloatArray) -> FloatArray:
        """100 · mean."""
        return np.asarray(100 * units[..., 0].mean(axis=-1))


METRIC = ExactMatch()
