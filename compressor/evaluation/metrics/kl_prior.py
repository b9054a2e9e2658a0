"""Divergence of a variational autoencoder's latents from their prior, the mean over samples.

kl_prior = mean ½ Σ (m² + v - 1 - log v) = mean KL(N(m, v) || N(0, 1)), over the latents of a sample
with means m and variances v (Kingma and Welling 2014, appendix B). In nats, lower is closer to the
prior; it counts as better, as it does in the bound. Which outputs are which says
`compressor.evaluation.vae`, by name.
"""

from collections.abc import Mapping

from calibration.batch import Batch
from compressor.evaluation.metrics.base import FloatArray
from compressor.evaluation.sample_means import SampleMean
from compressor.evaluation.vae import prior_divergence
from compressor.graph.tensors import Array


class PriorDivergence(SampleMean):
    """0 is the prior."""

    name = "kl_prior"
    unit = "nats"
    higher_is_better = False

    def of(self, outputs: Mapping[str, Array], step: Batch) -> FloatArray:
        """Divergence of every sample, (b,)."""
        return prior_divergence(outputs, step, self.name)


METRIC = PriorDivergence()
