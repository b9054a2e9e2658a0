"""Evidence lower bound of a variational autoencoder, the mean over samples.

elbo = mean(-½ Σ (t - x)² - D / 2 · log 2π - KL): log p(t | z) of a normal distribution of
variance 1 about the reconstruction x of D values, less the divergence of the latents from their
prior (`kl_prior`); Kingma and Welling 2014, equation 10, with the one z that the reconstruction was
made of. In nats, higher is better. Which outputs are which says `compressor.evaluation.vae`, by
name.
"""

import math
from collections.abc import Mapping

import numpy as np

from calibration.batch import Batch
from compressor.evaluation.metrics.base import FloatArray
from compressor.evaluation.sample_means import SampleMean
from compressor.evaluation.vae import prior_divergence, squared_error
from compressor.graph.tensors import Array


class EvidenceLowerBound(SampleMean):
    """A bound of the log-likelihood."""

    name = "elbo"
    unit = "nats"

    def of(self, outputs: Mapping[str, Array], step: Batch) -> FloatArray:
        """The bound of every sample, (b,)."""
        error, values = squared_error(outputs, step, self.name).T
        likelihood = -0.5 * error - values / 2 * math.log(2 * math.pi)
        return np.asarray(likelihood - prior_divergence(outputs, step, self.name))


METRIC = EvidenceLowerBound()
