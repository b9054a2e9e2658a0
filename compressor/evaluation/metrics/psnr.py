"""Peak signal-to-noise ratio, in decibels.

psnr = 10·log10(peak² / mse), where the peak is the range of the reference (its largest less its
least value over all samples) and mse that of `mse`, likewise against targets where the data has
them, else against the original. Infinite without error.
"""

import numpy as np

from compressor.evaluation.fidelity import FidelityMetric, Sums
from compressor.evaluation.metrics.base import FloatArray


class PeakSignalToNoise(FidelityMetric):
    """Error in relation to the range that values have."""

    name = "psnr"
    unit = "dB"
    takes_labels = True

    def units(self, sums: Sums) -> FloatArray:
        """Error, number of values, least and largest reference, (b, 4)."""
        return np.stack([sums.error, sums.count, sums.low, sums.high], axis=1)

    def aggregate(self, units: FloatArray) -> FloatArray:
        """Peak and error of all units together."""
        error, count = np.moveaxis(units[..., :2].sum(axis=-2), -1, 0)
        peak = units[..., 3].max(axis=-1) - units[..., 2].min(axis=-1)
        with np.errstate(divide="ignore", invalid="ignore"):
            return np.asarray(10 * np.log10(peak**2 * count / error))


METRIC = PeakSignalToNoise()
