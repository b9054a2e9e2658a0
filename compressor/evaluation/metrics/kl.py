"""Divergence of the result's predictions from the original's: how much each token tells of both.

kl = mean over positions of KL(r || x) = Σ p(v)·(log p(v) - log q(v)), p and q the softmax of the
original's and of the result's logits over the vocabulary, in nats a token (Kullback and Leibler
1951). Lower is better; the original's own is 0, so that a budget is in points: 0.01pt are 0.01
nats. Padding does not count: positions where the original's logits are all the same, or whose label
is negative. It needs no labels otherwise.
"""

from collections.abc import Mapping

import numpy as np

from calibration.dataset import CalibrationSet
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


class Divergence(Metric):
    """0 is the same predictions."""

    name = "kl"
    unit = "nats"
    higher_is_better = False
    relative = False
    takes_labels = True

    def evaluate(self, runners: Mapping[str, Runner], data: CalibrationSet, batch: int) -> Scores:
        """Summed divergence and positions of each sample, (n, 2).

        Raises:
            UsageError: The output is no logits, or the result's are of other positions.
        """
        rows: dict[str, list[FloatArray]] = {name: [] for name in runners}
        for step, outputs in labelled(predictions(runners, data, batch)):
            original = logits_of(outputs[BASELINE], len(step), self.name)
            expected, counts = log_softmax(original), counted(step, original)
            for name, arrays in outputs.items():
                own = logits_of(arrays, len(step), self.name)
                same_logits(original, own, self.name)
                apart = divergence(expected, log_softmax(own))
                sums = np.where(counts, apart, 0).sum(axis=1)
                rows[name].append(np.stack([sums, counts.sum(axis=1)], axis=1))
        return stack(rows, "original")

    def aggregate(self, units: FloatArray) -> FloatArray:
        """Total over all positions."""
        nats, positions = np.moveaxis(units.sum(axis=-2), -1, 0)
        with np.errstate(divide="ignore", invalid="ignore"):
            return np.asarray(nats / positions)


def log_softmax(logits: FloatArray) -> FloatArray:
    """Log-probabilities over the last axis."""
    with np.errstate(invalid="ignore", divide="ignore"):
        shifted = logits - logits.max(axis=-1, keepdims=True)
        return np.asarray(shifted - np.log(np.exp(shifted).sum(axis=-1, keepdims=True)))


def divergence(expected: FloatArray, own: FloatArray) -> FloatArray:
    """KL over the last axis, of logarithms; what the original rules out (-inf) adds nothing."""
    with np.errstate(invalid="ignore"):
        terms = np.exp(expected) * (expected - own)
    return np.asarray(np.where(np.isneginf(expected), 0, terms).sum(axis=-1))


METRIC = Divergence()
