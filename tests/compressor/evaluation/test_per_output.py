"""A figure of every output by itself, where calls differ in length."""

from collections.abc import Iterator

import numpy as np
import pytest

from calibration.dataset import CalibrationSet, open_dataset
from compressor.evaluation.metrics.base import BASELINE, RESULT
from compressor.evaluation.per_output import output_results
from compressor.evaluation.roles import Roles
from compressor.evaluation.yardstick import choose
from compressor.graph.tensors import Array, Arrays, TensorSpec

LENGTHS = (6, 1, 1, 6, 1, 3, 1, 1)
CALLS = [
    np.random.default_rng(seed).standard_normal((1, length, 4)).astype(np.float32)
    for seed, length in enumerate(LENGTHS)
]


class Sequences:
    """y is near 5 whatever comes in, so that its spread says more than its direction."""

    on_caller = True
    inputs = (TensorSpec("x", np.dtype(np.float32), ("n", "length", 4)),)
    outputs = (TensorSpec("y", np.dtype(np.float32), ("n", "length", 4)),)

    def __init__(self, error: float) -> None:
        self.error = error

    def run(self, feeds: Arrays) -> dict[str, Array]:
        return {"y": np.float32(5) + feeds["x"] * np.float32(0.1 + self.error)}


def calls(longest: int = max(LENGTHS)) -> CalibrationSet:
    def read() -> Iterator[dict[str, Array]]:
        yield from ({"x": x} for x in CALLS if x.shape[1] <= longest)

    return open_dataset(read, role="evaluation", seed=0)


def test_calls_of_several_lengths_share_one_mean() -> None:
    original, result = Sequences(0.0), Sequences(0.01)
    yardstick = choose(original, calls(longest=1), 4, roles=Roles(), metric=None, output=None)
    runners = {BASELINE: original, RESULT: result}
    (found,) = output_results(runners, calls(), 4, yardstick)
    exact, made = (
        np.concatenate([runner.run({"x": x})["y"].ravel() for x in CALLS]).astype(np.float64)
        for runner in runners.values()
    )
    spread = np.square(exact - exact.mean()).sum()
    assert found.metric == "r2"
    assert found.value == pytest.approx(1 - np.square(exact - made).sum() / spread, abs=1e-6)
