"""What a denoiser predicts, and the step from x_t to the one before it."""

from typing import Literal, NamedTuple

import numpy as np
import numpy.typing as npt

from compressor.pipelines.diffusion.schedules import Numbers

Prediction = Literal["epsilon", "sample", "v"]
Sampler = Literal["ddim", "ddpm"]


class Estimate(NamedTuple):
    """Image and noise that x_t is taken to be made of."""

    x0: Numbers
    noise: Numbers


def estimate(
    prediction: Prediction, predicted: Numbers, x: Numbers, alpha: float, clip: float | None = None
) -> Estimate:
    """x_0 and ε from what the denoiser predicts, where x_t = √ᾱ · x_0 + √(1 - ᾱ) · ε.

    epsilon: x_0 = (x_t - √(1 - ᾱ) · ε) / √ᾱ (Ho et al. 2020, eq. 15). sample: ε from x_0 by the
    same. v = √ᾱ · ε - √(1 - ᾱ) · x_0: x_0 = √ᾱ · x_t - √(1 - ᾱ) · v and ε = √ᾱ · v + √(1 - ᾱ) · x_t
    (Salimans and Ho 2022, appendix D).

    Args:
        prediction: What the denoiser was trained to predict.
        predicted: What it predicts, of the shape of `x`.
        x: x_t.
        alpha: ᾱ_t.
        clip: Bound of |x_0|; ε stays as it was predicted.
    """
    root, rest = np.sqrt(alpha), np.sqrt(1 - alpha)
    if prediction == "epsilon":
        found = Estimate((x - rest * predicted) / root, predicted)
    elif prediction == "sample":
        found = Estimate(predicted, (x - root * predicted) / rest)
    else:
        found = Estimate(root * x - rest * predicted, root * predicted + rest * x)
    return found if clip is None else found._replace(x0=np.clip(found.x0, -clip, clip))


def ddim_step(
    found: Estimate, alpha: float, before: float, eta: float, noise: Numbers
) -> npt.NDArray[np.float64]:
    """x_s from the estimate at t > s: √ᾱ_s · x_0 + √(1 - ᾱ_s - σ²) · ε + σ · z.

    σ = η · √((1 - ᾱ_s) / (1 - ᾱ_t)) · √(1 - ᾱ_t / ᾱ_s) (Song et al. 2021, eq. 12 and 16).

    Args:
        found: x_0 and ε.
        alpha: ᾱ_t.
        before: ᾱ_s; 1 at the end.
        eta: 0 draws nothing, 1 as much as DDPM.
        noise: z, of the shape of x_0.
    """
    sigma = eta * np.sqrt((1 - before) / (1 - alpha)) * np.sqrt(1 - alpha / before)
    direction = np.sqrt(max(1 - before - sigma**2, 0.0)) * found.noise
    return np.asarray(np.sqrt(before) * found.x0 + direction + sigma * noise)


def ddpm_step(
    found: Estimate, x: Numbers, alpha: float, before: float, noise: Numbers
) -> npt.NDArray[np.float64]:
    """x_s drawn from q(x_s | x_t, x_0), the posterior of the noising (Ho et al. 2020, eq. 6 and 7).

    With a = ᾱ_t / ᾱ_s and β = 1 - a its mean is √ᾱ_s · β / (1 - ᾱ_t) · x_0 + √a · (1 - ᾱ_s) /
    (1 - ᾱ_t) · x_t, its variance β · (1 - ᾱ_s) / (1 - ᾱ_t). Timesteps may be left out: a is then
    that of all between (Nichol and Dhariwal 2021, section 4).

    Args:
        found: x_0 and ε.
        x: x_t.
        alpha: ᾱ_t.
        before: ᾱ_s; 1 at the end, where nothing is drawn.
        noise: Standard normal, of the shape of x_t.
    """
    ratio = alpha / before
    beta = 1 - ratio
    mean = np.sqrt(before) * beta / (1 - alpha) * found.x0
    mean = mean + np.sqrt(ratio) * (1 - before) / (1 - alpha) * x
    return np.asarray(mean + np.sqrt(beta * (1 - before) / (1 - alpha)) * noise)
