"""What tests of kept results share: a session with a cache, and graphs to tell apart."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import onnx_ir as ir

from calibration.dataset import open_dataset
from compressor.evaluation.metrics.cosine import METRIC
from compressor.recipe.recipe import Recipe
from compressor.search.session import MachineTimer


def graph(scale: float = 1.0) -> ir.Model:
    """y = scale · x."""
    x = ir.val("x", dtype=ir.DataType.FLOAT, shape=["batch", 2])
    weight = ir.val("w", const_value=ir.tensor(np.full(2, scale, np.float32), name="w"))
    node = ir.node("Mul", [x, weight], name="scale")
    node.outputs[0].name = "y"
    made = ir.Graph([x], node.outputs, nodes=[node], initializers=[weight], opset_imports={"": 21})
    return ir.Model(made, ir_version=10)


def samples(seed: int = 0) -> Any:
    """Eight of them."""
    array = np.random.default_rng(seed).normal(size=(8, 2)).astype(np.float32)
    return open_dataset({"x": array}, role="calibration", seed=0)


def session(cache: Path | None, timer: Any = None, **sections: Any) -> Any:
    """As far as kept results look at it."""
    data = {"reuse": False} if cache is None else {"cache": cache}
    yardstick = SimpleNamespace(primary="y", reseeded=None, metrics=(METRIC,))
    return SimpleNamespace(
        recipe=Recipe.model_validate({"data": data, **sections}),
        timer=timer or MachineTimer(),
        prepared=SimpleNamespace(model=graph(), yardstick=yardstick),
        target=SimpleNamespace(name="ort", runtime="onnxruntime"),
        batch=4,
    )


class Calls:
    """Gives what it was given, and counts how often."""

    def __init__(self, result: Any) -> None:
        self.result, self.count = result, 0

    def __call__(self) -> Any:
        self.count += 1
        return self.result
