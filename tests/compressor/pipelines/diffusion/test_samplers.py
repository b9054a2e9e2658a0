"""Steps of samplers against what is known in closed form."""

import numpy as np
import pytest

from compressor.pipelines.diffusion.samplers import ddim_step, ddpm_step, estimate
from compressor.pipelines.diffusion.schedules import alphas_cumprod

RNG = np.random.default_rng(0)
X0, EPS = RNG.standard_normal((2, 3, 4, 4)), RNG.standard_normal((2, 3, 4, 4))
ALPHAS = alphas_cumprod("linear", 100, 1e-3, 0.1)


def noisy(alpha: float) -> np.ndarray:
    return np.sqrt(alpha) * X0 + np.sqrt(1 - alpha) * EPS


@pytest.mark.parametrize("prediction", ["epsilon", "sample", "v"])
@pytest.mark.parametrize("clip", [None, 10.0])
def test_a_right_prediction_tells_image_and_noise(prediction, clip):
    alpha = float(ALPHAS[70])
    v = np.sqrt(alpha) * EPS - np.sqrt(1 - alpha) * X0
    predicted = {"epsilon": EPS, "sample": X0, "v": v}[prediction]
    found = estimate(prediction, predicted, noisy(alpha), alpha, clip)
    np.testing.assert_allclose(found.x0, X0, atol=1e-10)
    np.testing.assert_allclose(found.noise, EPS, atol=1e-10)


def test_a_bounded_image_leaves_the_noise_as_it_was_predicted():
    found = estimate("epsilon", EPS, noisy(0.5), 0.5, 0.5)
    np.testing.assert_allclose(found.x0, np.clip(X0, -0.5, 0.5), atol=1e-10)
    np.testing.assert_array_equal(found.noise, EPS)


def test_ddim_goes_along_the_path_of_its_estimate():
    alpha, before = float(ALPHAS[70]), float(ALPHAS[40])
    found = estimate("epsilon", EPS, noisy(alpha), alpha)
    still = np.zeros_like(X0)
    np.testing.assert_allclose(
        ddim_step(found, alpha, before, 0.0, still), noisy(before), atol=1e-10
    )
    np.testing.assert_allclose(ddim_step(found, alpha, 1.0, 1.0, EPS), X0, atol=1e-10)


def test_ddpm_is_the_posterior_of_one_step():
    """Mean and variance of eq. 7 of Ho et al. 2020, with β of the schedule itself."""
    t = 40
    alpha, before = float(ALPHAS[t]), float(ALPHAS[t - 1])
    beta = 1e-3 + t / 99 * (0.1 - 1e-3)
    x = noisy(alpha)
    found = estimate("epsilon", EPS, x, alpha)
    mean = (
        np.sqrt(before) * beta / (1 - alpha) * X0
        + np.sqrt(1 - beta) * (1 - before) / (1 - alpha) * x
    )
    np.testing.assert_allclose(
        ddpm_step(found, x, alpha, before, np.zeros_like(x)), mean, atol=1e-10
    )
    eleven = 1 / np.sqrt(1 - beta) * (x - beta / np.sqrt(1 - alpha) * EPS)  # eq. 11
    np.testing.assert_allclose(mean, eleven, atol=1e-10)
    moved = ddpm_step(found, x, alpha, before, np.ones_like(x)) - mean
    np.testing.assert_allclose(moved**2, (1 - before) / (1 - alpha) * beta, rtol=1e-9)


def test_ddim_with_all_of_its_noise_is_ddpm():
    """Song et al. 2021, section 4.1: for η = 1 the two are one."""
    alpha, before = float(ALPHAS[70]), float(ALPHAS[55])
    x, noise = noisy(alpha), RNG.standard_normal(X0.shape)
    found = estimate("v", RNG.standard_normal(X0.shape), x, alpha)
    one = ddim_step(found, alpha, before, 1.0, noise)
    np.testing.assert_allclose(one, ddpm_step(found, x, alpha, before, noise), atol=1e-10)
