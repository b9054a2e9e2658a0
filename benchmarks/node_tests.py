"""Feed ONNX's own node tests their own inputs: how many arrive as the one call that they are.

    python benchmarks/node_tests.py

The tests come with `onnx`. Counted are those whose inputs are tensors of numbers and that ONNX
Runtime runs: their arrays are opened as calibration data, bound to the model's inputs, and fed back
in one batch, which has to hold the very arrays and give the very outputs.
"""

import sys
from collections import Counter
from typing import Any, cast

import numpy as np
import onnx
import onnx_ir as ir
from onnx.backend.test.case.node import collect_testcases

from calibration.dataset import open_dataset
from compressor.errors import CompressorError
from compressor.evaluation.feeding import predict
from compressor.graph.session import open_session
from compressor.graph.shapes import input_specs
from exporters.base import Runner


class Plain:
    """A session as a runner: names in, names out."""

    def __init__(self, model: onnx.ModelProto) -> None:
        read = ir.from_proto(model)
        self.inputs = input_specs(read)
        self._session = open_session(read)
        self._outputs = [value.name for value in self._session.get_outputs()]

    def run(self, feeds: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        """Run once."""
        return dict(zip(self._outputs, self._session.run(self._outputs, feeds), strict=True))


def outcome(model: onnx.ModelProto, arrays: list[Any]) -> str:
    """What becomes of one test."""
    if not arrays or not all(isinstance(a, np.ndarray) and a.dtype.kind in "fiub" for a in arrays):
        return "not numbers"
    feeds = {value.name: a for value, a in zip(model.graph.input, arrays, strict=False)}
    try:
        runner = Plain(model)
        expected = runner.run(feeds)
    except Exception:  # the runtime's own classes
        return "ONNX Runtime does not run it"
    if not all(isinstance(a, np.ndarray) for a in expected.values()):
        return "not numbers"
    if not all(np.isfinite(a).all() for a in arrays if a.dtype.kind == "f"):
        return "inputs are not finite"
    try:
        (batch,) = open_dataset(feeds).bind(runner.inputs).batches(10**6)
    except ValueError:
        return "several calls"
    except CompressorError as error:
        return f"refused: {error.message[:120]}"
    same = all(np.array_equal(batch.inputs[name], a) for name, a in feeds.items())
    if not same or any(batch.inputs[name].shape != a.shape for name, a in feeds.items()):
        return "other arrays"
    found = predict(cast(Runner, runner), batch.inputs, len(batch), batch.sample_axes)
    alike = all(
        np.array_equal(found[n], a, equal_nan=a.dtype.kind == "f") for n, a in expected.items()
    )
    return "fed" if alike else "other outputs"


def main() -> None:
    """Count, and name what is refused."""
    counts: Counter[str] = Counter()
    for case in collect_testcases(None):
        if case.model is None or not case.data_sets:
            continue
        found = outcome(case.model, list(case.data_sets[0][0]))
        counts[found.split(":")[0]] += 1
        if found not in ("fed", "not numbers", "ONNX Runtime does not run it"):
            print(f"{case.name}: {found}", file=sys.stderr)
    for what, count in counts.most_common():
        print(f"{count:5} {what}")


if __name__ == "__main__":
    main()
