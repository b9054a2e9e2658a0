"""The sample's loop: a digit is encoded, its code is drawn, and decoded again.

The noise is drawn here and not in a graph, so that original and compressed graphs see the same.
"""

from functools import cache
from pathlib import Path

import numpy as np

IMAGES = Path(__file__).resolve().parents[2] / "out" / "vae" / "images.npz"
"""Written by train.py: digits that training has not seen."""


@cache
def load_images(path):
    """Float32 [n, 1, 32, 32] in 0..1."""
    with np.load(path) as stored:
        return stored["image"]


def generate(models, seed, count):
    """Reconstructions of digits and new ones, [count, 1, 32, 32] in 0..1 each.

    With the digits and what the encoder says of them, as `--metric elbo` reads them.
    """
    rng = np.random.default_rng(seed)
    known = load_images(IMAGES)
    images = known[rng.integers(len(known), size=count)]
    code = models["encoder"](image=images)
    noise = rng.standard_normal(code["mean"].shape).astype(np.float32)
    z = code["mean"] + np.exp(0.5 * code["log_variance"]) * noise
    return {
        "reconstruction": models["decoder"](z=z)["image"],
        "drawn": models["decoder"](z=noise)["image"],
        "target": images,
        **code,
    }
