"""The loop of `trt_device.py`'s pipeline: a few steps of diffusion, each a call of its network."""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

STEPS, SIZE = 4, 0.1
"""Steps, and the share of the noise that each takes away: a network of random weights finds none,
and large steps would only make its outputs grow."""


def generate(
    models: Mapping[str, Callable[..., Mapping[str, Any]]], seed: int, count: int
) -> dict[str, npt.NDArray[np.float32]]:
    """Images [count, 1, 32, 32] from noise."""
    rng = np.random.default_rng(seed)
    x = rng.standard_normal((count, 1, 32, 32)).astype(np.float32)
    for t in np.linspace(999, 0, STEPS).round().astype(np.int64):
        x = (x - SIZE * models["unet"](x=x, t=np.full(count, t))["eps"]).astype(np.float32)
    return {"image": x}
