"""Reconstruction error of an autoencoder, the mean over samples.

reconstruction = mean Σ (t - x)², the squared error of a sample summed over its values: t is what is
reconstructed, x the reconstruction (Kingma and Welling 2014, section 2.3, with a normal likelihood
of variance 1, whose -log p is half of it and a constant). Lower is better, without a unit. Which
outputs are which says `compressor.evaluation.vae`, by name.
"""

from collections.abc import Mapping

from calibration.batch import Batch
from compressor.evaluation.metrics.base import FloatArray
from compressor.evaluation.sample_means import SampleMean
from compressor.evaluation.vae import squared_error
from compressor.graph.tensors import Array


class ReconstructionError(SampleMean):
    """0 is exact."""

    name = "reconstruction"
    higher_is_better = False

    def of(self, outputs: Mapping[str, Array], step: Batch) -> FloatArray:
        """Squared error of every sample, (b,)."""
        return squared_error(outputs, step, self.name)[:, 0]


METRIC = ReconstructionError()
