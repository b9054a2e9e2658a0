"""Structural similarity against torchmetrics, and scales against the formula on their own."""

import numpy as np
import pytest
import torch
from scipy.signal import convolve2d
from tables import Table, data, paired
from torchmetrics.functional.image import structural_similarity_index_measure

from compressor.errors import UsageError
from compressor.evaluation.metrics import find_metric
from compressor.evaluation.metrics.base import BASELINE, RESULT
from compressor.evaluation.metrics.ms_ssim import WEIGHTS, scales_of


def images(n: int = 3, channels: int = 3, side: int = 24) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    before = rng.random((n, channels, side, side + 3)).astype(np.float32).cumsum(axis=3) / side
    return before, before + rng.normal(0, 0.1, before.shape).astype(np.float32)


def test_ssim_is_that_of_torchmetrics_within_the_image():
    before, after = images()
    peak = float(before.max()) - float(before.min())
    _, everywhere = structural_similarity_index_measure(
        torch.from_numpy(after).double(),
        torch.from_numpy(before).double(),
        data_range=peak,
        reduction="none",
        return_full_image=True,
    )
    expected = everywhere[..., 5:-5, 5:-5].mean(dim=(1, 2, 3))
    found = paired("ssim", before, after)
    np.testing.assert_allclose(found.units[RESULT][:, 0], expected, rtol=1e-6)
    np.testing.assert_allclose(found.units[BASELINE], 1.0)


@pytest.mark.parametrize(
    "arranged", [lambda a: np.moveaxis(a, 1, 3), lambda a: a[:, :1], lambda a: a[:, 0]]
)
def test_channels_may_be_last_or_missing(arranged):
    before, after = images()
    expected = paired("ssim", before, after)
    if arranged(before).shape[-1] != 3:
        expected = paired("ssim", before[:, :1], after[:, :1])
    found = paired("ssim", arranged(before), arranged(after))
    np.testing.assert_allclose(found.units[RESULT], expected.units[RESULT])


def test_targets_are_the_reference_where_there_are_some():
    before, after = images()
    against = paired("ssim", before, after, labels=after)
    assert against.reference == "labels"
    np.testing.assert_allclose(against.units[RESULT], 1.0)
    assert (against.units[BASELINE] < 1).all()


def slow_ms_ssim(one: np.ndarray, other: np.ndarray, peak: float, scales: int) -> float:
    """One channel, by the paper's formula and whole windows."""
    offsets = np.arange(11) - 5
    window = np.exp(-(offsets[:, None] ** 2 + offsets**2) / (2 * 1.5**2))
    window /= window.sum()
    found, weights = 1.0, np.array(WEIGHTS[:scales]) / sum(WEIGHTS[:scales])
    for scale in range(scales):
        a, b = (convolve2d(x, window, mode="valid") for x in (one, other))
        var = [convolve2d(x * x, window, mode="valid") - m * m for x, m in ((one, a), (other, b))]
        covariance = convolve2d(one * other, window, mode="valid") - a * b
        structure = (2 * covariance + (0.03 * peak) ** 2) / (sum(var) + (0.03 * peak) ** 2)
        luminance = (2 * a * b + (0.01 * peak) ** 2) / (a * a + b * b + (0.01 * peak) ** 2)
        last = scale == scales - 1
        found *= float((luminance * structure if last else structure).mean()) ** weights[scale]
        one, other = (
            x[: x.shape[0] // 2 * 2, : x.shape[1] // 2 * 2]
            .reshape(x.shape[0] // 2, 2, x.shape[1] // 2, 2)
            .mean(axis=(1, 3))
            for x in (one, other)
        )
    return found


@pytest.mark.parametrize(("side", "scales"), [(30, 2), (50, 3)])
def test_ms_ssim_is_the_product_over_scales(side: int, scales: int):
    before, after = images(2, 1, side)
    peak = float(before.max()) - float(before.min())
    expected = [
        slow_ms_ssim(one[0].astype(float), other[0].astype(float), peak, scales)
        for one, other in zip(before, after, strict=True)
    ]
    found = paired("ms_ssim", before, after)
    np.testing.assert_allclose(found.units[RESULT][:, 0], expected, rtol=1e-9)


def test_five_scales_are_for_images_of_176():
    assert [scales_of(side) for side in (22, 44, 175, 176, 1000)] == [2, 3, 4, 5, 5]


@pytest.mark.parametrize(("metric", "least"), [("ssim", 11), ("ms_ssim", 22)])
def test_small_images_are_refused(metric: str, least: int):
    small = np.zeros((2, 1, 8, 8), np.float32)
    with pytest.raises(UsageError, match=f"{least} x {least} or more, found 8 x 8"):
        paired(metric, small, small)


def test_what_is_no_image_is_refused():
    with pytest.raises(UsageError, match=r"expected images .* found output 'y' of shape \[2, 5\]"):
        paired("ssim", np.zeros((4, 5), np.float32), np.zeros((4, 5), np.float32))


def test_an_image_without_any_range_is_itself():
    flat = np.full((2, 1, 12, 12), 0.5, np.float32)
    assert (paired("ssim", flat, flat).units[RESULT] == 1).all()
    assert find_metric("ssim").evaluate({BASELINE: Table(y=flat)}, data(2), 1).samples == 2
