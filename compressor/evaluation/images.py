"""Structural similarity of images: windows, scales, and the metrics over them.

At every place of a window of 11 x 11 with Gaussian weights of standard deviation 1.5, means a and
b, variances and covariance of two images give

    luminance = (2·a·b + c) / (a² + b² + c),   c = (0.01·L)²
    structure = (2·cov + e) / (var_a + var_b + e),   e = (0.03·L)²

where L is the range that the reference has over all samples (Wang, Bovik, Sheikh and Simoncelli
2004, IEEE Transactions on Image Processing 13:600-612). Windows lie within the image, as in the
authors' code; channels are averaged.
"""

from abc import abstractmethod
from collections.abc import Mapping
from functools import cache

import numpy as np

from calibration.batch import Batch
from calibration.dataset import CalibrationSet
from compressor.errors import UsageError
from compressor.evaluation.fidelity import target_of
from compressor.evaluation.metrics.base import (
    BASELINE,
    FloatArray,
    Metric,
    Outputs,
    Reference,
    Scores,
    labelled,
    predictions,
    stack,
)
from compressor.evaluation.outputs import evened, primary_output
from compressor.graph.tensors import Array
from exporters.base import Runner

WINDOW, SIGMA = 11, 1.5
_MOST_CHANNELS = 4
"""A last axis of so many, where the second has more, is that of channels."""


class StructuralMetric(Metric):
    """Base of metrics of one figure an image, against targets of its shape or the original's."""

    takes_labels = True

    @abstractmethod
    def similarity(self, reference: FloatArray, images: FloatArray, peak: float) -> FloatArray:
        """The figure of each pair of images (b, channels, height, width), (b,).

        Raises:
            UsageError: They are too small.
        """

    def evaluate(self, runners: Mapping[str, Runner], data: CalibrationSet, batch: int) -> Scores:
        """Compare every runner, the original itself included, with the reference: (n, 1).

        Raises:
            DataError: Floating labels do not have the shape of the images.
            UsageError: The primary output is no images, or they are too small.
        """
        reference, peak = self._range(runners[BASELINE], data, batch)
        rows: dict[str, list[FloatArray]] = {name: [] for name in runners}
        for step, outputs in labelled(predictions(runners, data, batch)):
            expected = self._reference(step, outputs[BASELINE], data)
            for name, arrays in outputs.items():
                own = images_of(*primary_output(arrays, len(step), self.name), self.name)
                one, other = (a.astype(np.float64) for a in evened(expected, own))
                rows[name].append(self.similarity(one, other, peak)[:, None])
        return stack(rows, reference)

    def aggregate(self, units: FloatArray) -> FloatArray:
        """Mean."""
        return np.asarray(units[..., 0].mean(axis=-1))

    def _range(self, original: Runner, data: CalibrationSet, batch: int) -> tuple[Reference, float]:
        """What is compared with, and the range that it has over all samples."""
        low, high = np.inf, -np.inf
        reference: Reference = "original"
        for step, outputs in labelled(predictions({BASELINE: original}, data, batch)):
            found = self._reference(step, outputs[BASELINE], data)
            low, high = min(low, float(found.min())), max(high, float(found.max()))
            if target_of(self.name, step, outputs[BASELINE], data.description) is not None:
                reference = "labels"
        return reference, high - low

    def _reference(self, step: Batch, original: Outputs, data: CalibrationSet) -> FloatArray:
        target = target_of(self.name, step, original, data.description)
        name, output = primary_output(original, len(step), self.name)
        return images_of(
            name, output if target is None else target.reshape(output.shape), self.name
        )


def images_of(name: str, array: Array, metric: str) -> FloatArray:
    """An output as images, (samples, channels, height, width).

    Raises:
        UsageError: It is none of (samples, height, width) and (samples, channels, height, width),
            or with channels last.
    """
    exact = array.astype(np.float64)
    if exact.ndim == 3:
        return exact[:, None]
    if exact.ndim != 4:
        raise UsageError(
            f"metric {metric}: expected images of shape [samples, channels, height, width], found "
            f"output {name!r} of shape {list(array.shape)}",
            hint="Choose --metric psnr or cosine, which take any shape.",
        )
    last = exact.shape[3] <= _MOST_CHANNELS < exact.shape[1]
    return np.moveaxis(exact, 3, 1) if last else exact


def luminance_and_structure(
    one: FloatArray, other: FloatArray, peak: float
) -> tuple[FloatArray, FloatArray]:
    """Both at every place of the window, (b, channels, height - 10, width - 10)."""
    c, e = (0.01 * peak) ** 2, (0.03 * peak) ** 2
    a, b = windowed(one), windowed(other)
    variances = windowed(one * one) - a * a + windowed(other * other) - b * b
    covariance = windowed(one * other) - a * b
    with np.errstate(invalid="ignore"):  # without any range both are 0 / 0, of equals 1
        first = (2 * a * b + c) / (a * a + b * b + c)
        second = (2 * covariance + e) / (np.maximum(variances, 0) + e)
    same = peak == 0
    return (np.where(np.isnan(first), same, first), np.where(np.isnan(second), same, second))


def windowed(images: FloatArray) -> FloatArray:
    """Weighted means of every window within the images, along both axes in turn."""
    return np.asarray(_rows(images.shape[2]) @ images @ _rows(images.shape[3]).T)


def require_size(images: FloatArray, least: int, metric: str) -> None:
    """Refuse images that hold no window.

    Raises:
        UsageError: They are smaller than `least` on a side.
    """
    height, width = images.shape[2:]
    if min(height, width) < least:
        raise UsageError(
            f"metric {metric}: expected images of {least} x {least} or more, found {height} x "
            f"{width}",
            hint="Choose --metric psnr, which takes any size.",
        )


@cache
def _rows(size: int) -> FloatArray:
    """The weights of every window along an axis, (size - 10, size)."""
    offsets = np.arange(WINDOW) - WINDOW // 2
    weights = np.exp(-(offsets**2) / (2 * SIGMA**2))
    matrix = np.zeros((size - WINDOW + 1, size))
    for place, row in enumerate(matrix):
        row[place : place + WINDOW] = weights / weights.sum()
    return matrix
