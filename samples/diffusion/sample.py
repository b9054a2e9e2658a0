"""The sample's loop: from noise to digits in 20 steps of DDIM.

Song et al. 2021, equation 12, with η = 0: all randomness is in the noise it begins with.
"""

import numpy as np

TRAINED, STEPS = 1000, 20
ALPHAS = np.cumprod(1 - np.linspace(1e-4, 0.02, TRAINED))
"""ᾱ of each time step that the network was trained at: the linear schedule of Ho et al. 2020."""


def generate(models, seed, count):
    """Images [count, 1, 32, 32] in 0..1."""
    rng = np.random.default_rng(seed)
    x = rng.standard_normal((count, 1, 32, 32)).astype(np.float32)
    times = np.linspace(TRAINED - 1, 0, STEPS).round().astype(np.int64)
    for now, then in zip(times, [*times[1:], -1], strict=True):
        eps = models["unet"](x=x, t=np.full(count, now))["eps"]
        signal, noise = np.sqrt(ALPHAS[now]), np.sqrt(1 - ALPHAS[now])
        clean = np.clip((x - noise * eps) / signal, -1, 1)
        left = ALPHAS[then] if then >= 0 else 1.0
        x = (np.sqrt(left) * clean + np.sqrt(1 - left) * eps).astype(np.float32)
    return {"image": (x + 1) / 2}
