"""Structural similarity of images at several scales, the mean over samples.

ms_ssim = l_M^w_M · Π s_j^w_j over the scales j = 1 … M, each half as large as the one before by the
mean of 2 x 2 pixels: s_j is the mean structure of a scale, below 0 taken for 0, and l_M · s_M the
`ssim` of the last. M = 5 with the weights 0.0448, 0.2856, 0.3001, 0.2363 and 0.1333 (Wang,
Simoncelli and Bovik 2003, Asilomar, section 3.2), which takes images of 176 x 176. Smaller images
have as many scales as hold a window, and the weights of those, made to sum to 1. 1 is the same
image, and higher is better; without a unit. References are those of `ssim`.
"""

import numpy as np

from compressor.evaluation.images import (
    WINDOW,
    StructuralMetric,
    luminance_and_structure,
    require_size,
)
from compressor.evaluation.metrics.base import FloatArray

WEIGHTS = (0.0448, 0.2856, 0.3001, 0.2363, 0.1333)


class MultiScaleSimilarity(StructuralMetric):
    """1 is the same."""

    name = "ms_ssim"

    def similarity(self, reference: FloatArray, images: FloatArray, peak: float) -> FloatArray:
        """The weighted product over the scales.

        Raises:
            UsageError: The images hold no two scales.
        """
        require_size(images, 2 * WINDOW, self.name)
        scales = scales_of(min(images.shape[2:]))
        weights = np.array(WEIGHTS[:scales]) / sum(WEIGHTS[:scales])
        found = np.ones(len(images))
        for scale, weight in enumerate(weights):
            luminance, structure = luminance_and_structure(reference, images, peak)
            if scale == scales - 1:
                structure = luminance * structure
            # Of each channel by itself, as an image of one channel.
            mean = np.clip(structure.mean(axis=(2, 3)), 0, None).mean(axis=1)
            found *= mean**weight
            reference, images = halved(reference), halved(images)
        return found


def scales_of(side: int) -> int:
    """How many scales of images of that side hold a window, five at most."""
    return min(len(WEIGHTS), int(np.log2(side / WINDOW)) + 1)


def halved(images: FloatArray) -> FloatArray:
    """The mean of every 2 x 2 pixels; an odd last row or column falls away."""
    even = images[:, :, : images.shape[2] // 2 * 2, : images.shape[3] // 2 * 2]
    return np.asarray(
        (
            even[:, :, ::2, ::2]
            + even[:, :, 1::2, ::2]
            + even[:, :, ::2, 1::2]
            + even[:, :, 1::2, 1::2]
        )
        / 4
    )


METRIC = MultiScaleSimilarity()
