"""Schedules of noise against their closed forms."""

import numpy as np
import pytest

from compressor.pipelines.diffusion.schedules import alphas_cumprod, timesteps_of


def test_linear_and_scaled_linear_are_products_of_their_betas():
    t = np.arange(1000) / 999
    linear = np.cumprod(1 - (1e-4 + t * (0.02 - 1e-4)))
    np.testing.assert_allclose(alphas_cumprod("linear", 1000), linear, rtol=1e-12)
    root = np.sqrt(0.00085) + t * (np.sqrt(0.012) - np.sqrt(0.00085))
    np.testing.assert_allclose(
        alphas_cumprod("scaled-linear", 1000), np.cumprod(1 - root**2), rtol=1e-12
    )
    # Stable Diffusion's last and first, as its code prints them
    assert alphas_cumprod("scaled-linear", 1000)[[0, -1]] == pytest.approx(
        [0.99915, 0.00466], abs=1e-5
    )
    other = alphas_cumprod("linear", 100, 0.001, 0.2)
    assert other[0] == pytest.approx(0.999)


def test_cosine_follows_its_curve_until_beta_is_bounded():
    found = alphas_cumprod("cosine", 1000)
    t = np.arange(1, 1001) / 1000
    curve = np.cos((t + 0.008) / 1.008 * np.pi / 2) ** 2 / np.cos(0.008 / 1.008 * np.pi / 2) ** 2
    np.testing.assert_allclose(found[:-1], curve[:-1], rtol=1e-9)
    assert found[-1] == pytest.approx(found[-2] * 0.001)


@pytest.mark.parametrize(
    ("spacing", "wanted"),
    [
        ("leading", [750, 500, 250, 0]),
        ("trailing", [999, 749, 499, 249]),
        ("linspace", [999, 666, 333, 0]),
    ],
)
def test_timesteps_go_from_noisy_to_clean(spacing, wanted):
    assert timesteps_of(4, 1000, spacing).tolist() == wanted
    assert timesteps_of(10, 10, spacing).tolist() == list(range(10))[::-1]
