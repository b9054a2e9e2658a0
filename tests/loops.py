"""Graphs and a loop over them for tests: a denoiser that is called in steps, and a decoder."""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import onnx_ir as ir
from graphs import model

from compressor.graph.tensors import Array, Arrays, TensorSpec

STEPS = 6


def denoiser() -> ir.Model:
    return model(
        """g (float[n,8,8,8] x, int64[n] t, float[16,8,3,3] w1, float[8,16,3,3] w2)
            => (float[n,8,8,8] eps)
        <float[1] scale = {0.1}, int64[3] axes = {1,2,3}>
        {
            f = Cast<to=1>(t)
            s = Mul(f, scale)
            u = Unsqueeze(s, axes)
            a = Add(x, u)
            h = Conv<pads=[1,1,1,1]>(a, w1)
            r = Relu(h)
            eps = Conv<pads=[1,1,1,1]>(r, w2)
        }""",
        w1=[16, 8, 3, 3],
        w2=[8, 16, 3, 3],
    )


def decoder() -> ir.Model:
    return model(
        """g (float[n,8,8,8] z, float[16,8,3,3] w1, float[3,16,3,3] w2) => (float[n,3,8,8] image)
        {
            h = Conv<pads=[1,1,1,1]>(z, w1)
            r = Relu(h)
            c = Conv<pads=[1,1,1,1]>(r, w2)
            image = Tanh(c)
        }""",
        w1=[16, 8, 3, 3],
        w2=[3, 16, 3, 3],
    )


def generate(models: Mapping[str, Callable[..., Any]], seed: int, count: int) -> dict[str, Any]:
    """Denoise in steps, then decode."""
    rng = np.random.default_rng(seed)
    x = rng.standard_normal((count, 8, 8, 8)).astype(np.float32)
    for t in reversed(range(STEPS)):
        eps = models["unet"](x=x, t=np.full(count, t, np.int64))["eps"]
        x = (x - 0.05 * eps).astype(np.float32)
    return {"image": models["vae"](z=x)["image"]}


class Doubling:
    """A runner that needs no runtime: y = 2·x."""

    on_caller = True
    inputs = (TensorSpec("x", np.dtype(np.float32), ("n", 2)),)
    outputs = (TensorSpec("y", np.dtype(np.float32), ("n", 2)),)
    factor = 2.0

    def __init__(self) -> None:
        self.closed = 0

    def __enter__(self) -> "Doubling":
        return self

    def __exit__(self, *raised: object) -> None:
        self.closed += 1

    def run(self, feeds: Arrays) -> dict[str, Array]:
        return {"y": np.float32(self.factor) * feeds["x"]}

    def bind(self, feeds: Arrays) -> Callable[[], None]:
        return lambda: None
