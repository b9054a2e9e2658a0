"""Structural similarity of images, the mean over samples.

ssim = mean(luminance · structure) over all windows and channels of an image; see
`compressor.evaluation.images` for both (Wang et al. 2004, equation 13). Against targets where the
data has them, else against the original's images of the same inputs or seeds. 1 is the same image,
and higher is better; without a unit.
"""

import numpy as np

from compressor.evaluation.images import (
    WINDOW,
    StructuralMetric,
    luminance_and_structure,
    require_size,
)
from compressor.evaluation.metrics.base import FloatArray


class StructuralSimilarity(StructuralMetric):
    """1 is the same."""

    name = "ssim"

    def similarity(self, reference: FloatArray, images: FloatArray, peak: float) -> FloatArray:
        """Mean over windows and channels."""
        require_size(images, WINDOW, self.name)
        luminance, structure = luminance_and_structure(reference, images, peak)
        return np.asarray((luminance * structure).mean(axis=(1, 2, 3)))


METRIC = StructuralSimilarity()
