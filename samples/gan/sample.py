"""The sample's loop: noise in, digits out. `compress --pipeline` runs it, and so does `use.py`."""

import numpy as np

LATENT = 64


def generate(models, seed, count):
    """Images [count, 1, 32, 32] in 0..1."""
    z = np.random.default_rng(seed).standard_normal((count, LATENT)).astype(np.float32)
    return {"image": models["generator"](z=z)["image"]}
