"""Inception score: how sure a classifier is of each sample, and how many classes it finds in all.

inception_score = exp(mean KL(p(y|x) || p(y))) = exp(H(mean p) - mean H(p)), with the probabilities
p(y|x) that the feature model gives the classes of a sample and p(y) their mean over all samples
(Salimans et al. 2016, section 4, there with Inception v3 and ten parts; here all at once). From 1
to the number of classes, higher is better, without a unit. It compares with nothing: a budget holds
it against the original's own value.
"""

from collections.abc import Mapping

import numpy as np

from compressor.evaluation.distributions import DistributionMetric, Estimate, Sets, left
from compressor.evaluation.metrics.base import FloatArray
from compressor.evaluation.outputs import shown_output
from compressor.graph.tensors import Array


class InceptionScore(DistributionMetric):
    """Of one set."""

    name = "inception_score"
    compares = False

    def features(self, outputs: Mapping[str, Array], samples: int) -> FloatArray:
        """Probabilities of the classes, (samples, classes)."""
        return self._space.class_scores(shown_output(outputs, samples, self.name))

    def estimate(self, sets: Sets) -> Estimate:
        """The score of all samples, and without each block."""
        own = entropy(sets.own)
        blocks = sets.blocks
        total, each = sets.own.sum(axis=0), np.stack([sets.own[b].sum(axis=0) for b in blocks])
        sums = np.array([own[block].sum() for block in blocks])
        n, remaining = len(own), left(blocks)
        whole = np.exp(entropy(total[None] / n)[0] - own.mean())
        rest = entropy((total - each) / remaining[:, None]) - (own.sum() - sums) / remaining
        return Estimate(float(whole), np.exp(rest))


def entropy(probabilities: FloatArray) -> FloatArray:
    """-Σ p log p of every row, in nats."""
    logs = np.log(probabilities, out=np.zeros_like(probabilities), where=probabilities > 0)
    return np.asarray(-(probabilities * logs).sum(axis=-1))


METRIC = InceptionScore()
