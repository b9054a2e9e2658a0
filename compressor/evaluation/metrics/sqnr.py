"""Signal-to-quantization-noise ratio of the outputs against the original's, in decibels.

sqnr = 10·log10(Σ r² / Σ (r - x)²), over all samples. Infinite without error.
"""

import numpy as np

from compressor.evaluation.fidelity import FidelityMetric, Sums
from compressor.evaluation.metrics.base import FloatArray


class SignalToQuantizationNoise(FidelityMetric):
    """Error in relation to the energy of the signal."""

    name = "sqnr"
    unit = "dB"

    def units(self, sums: Sums) -> FloatArray:
        """Energy of the signal and of the error, (b, 2)."""
        return np.stack([sums.reference, sums.error], axis=1)

    def aggregate(self, units: FloatArray) -> FloatArray:
        """Total signal over total error."""
        signal, error = np.moveaxis(units.sum(axis=-2), -1, 0)
        with np.errstate(divide="ignore", invalid="ignore"):
            return np.asarray(10 * np.log10(signal / error))


METRIC = SignalToQuantizationNoise()
