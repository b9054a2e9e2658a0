"""BLEU: how many runs of one to four words or tokens of what is generated the reference has.

bleu = 100 · b · exp(mean log p_n), n = 1 … 4: p_n is the share of the result's runs of n that the
reference has, over all samples, and b = min(1, exp(1 - reference length / length)) (Papineni et al.
2002). A p_n of 0 is 1 / (2^k · runs), the k-th such from below (Chen and Cherry 2014, method 3), as
in sacrebleu. Texts are divided into words by sacrebleu's tokenizer 13a (Post 2018), which takes the
extra `text`; tokens are words as they are. In percent, higher is better. The reference are labels
that are texts or tokens, else what the original generates.
"""

from collections.abc import Callable, Sequence
from functools import cache
from typing import Any

import numpy as np

from compressor.errors import UsageError
from compressor.evaluation.metrics.base import FloatArray
from compressor.evaluation.ngrams import SequenceMetric, shared

ORDERS = (1, 2, 3, 4)


class Bleu(SequenceMetric):
    """100 is the same."""

    name = "bleu"

    def counts(self, reference: Sequence[object], own: Sequence[object]) -> list[float]:
        """Length of the reference, own length, then shared runs and own runs of each order."""
        one, other = _words(reference), _words(own)
        found = [shared(one, other, order) for order in ORDERS]
        return [len(one), len(other), *(f[0] for f in found), *(f[2] for f in found)]

    def aggregate(self, units: FloatArray) -> FloatArray:
        """Of the sums over all samples."""
        sums = units.sum(axis=-2)
        expected, length = sums[..., 0], sums[..., 1]
        hits, runs = sums[..., 2:6], sums[..., 6:]
        halvings = 2.0 ** np.cumsum((hits == 0) & (runs > 0), axis=-1)
        with np.errstate(divide="ignore", invalid="ignore"):
            shares = np.where(hits > 0, hits, 1 / halvings) / runs
            brevity = np.exp(np.minimum(0, 1 - expected / length))
            found = 100 * brevity * np.exp(np.log(shares).mean(axis=-1))
        nothing = (runs == 0).any(axis=-1) | (hits[..., 0] == 0)
        return np.asarray(np.where(nothing, 0.0, found))


def _words(sequence: Sequence[object]) -> Sequence[object]:
    return _tokenizer()(sequence.rstrip()).split() if isinstance(sequence, str) else sequence


@cache
def _tokenizer() -> Callable[[str], str]:
    try:
        from sacrebleu.metrics.bleu import BLEU  # noqa: PLC0415 - only texts need it
    except ImportError as error:
        raise UsageError(
            "metric bleu divides texts into words by sacrebleu, which is not installed",
            hint="Run pip install 'compressor[text]', or return tokens in place of texts.",
        ) from error
    tokenizer: Any = BLEU(tokenize="13a").tokenizer
    return tokenizer  # type: ignore[no-any-return]


METRIC = Bleu()
