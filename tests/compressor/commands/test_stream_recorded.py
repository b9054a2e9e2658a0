"""What blocks make of samples, computed once and kept."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx_ir as ir
import pytest
from graphs import model

from calibration.dataset import CalibrationSet, open_dataset
from compressor.commands.stream_recorded import RecordedRunner, recorded
from compressor.commands.stream_runner import BlockRunner
from compressor.evaluation.feeding import predict
from compressor.graph.shapes import input_specs
from compressor.graph.tensors import TensorSpec

FIRST = """g (float[{n},4] x, float[4,6] up) => (float[{n},6] h, float[{n},4] y)
{{
    a = MatMul(x, up)
    h = Relu(a)
    y = Neg(x)
}}"""
SECOND = """g (float[{n},6] h, float[6,4] down) => (float[{n},4] z)
{{
    z = MatMul(h, down)
}}"""
X = np.random.default_rng(0).standard_normal((10, 4)).astype(np.float32)


class Counted:
    """Blocks that tell how often they were opened."""

    def __init__(self, n: int | str) -> None:
        self.opened = 0
        first = model(FIRST.format(n=n), up=[4, 6])
        second = model(SECOND.format(n=n), down=[6, 4])
        outputs = tuple(TensorSpec(name, np.dtype(np.float32), (n, 4)) for name in ("z", "y"))
        blocks = [self._counts(first), self._counts(second)]
        self.runner = BlockRunner(blocks, input_specs(first), outputs)
        self.opened = 0

    def _counts(self, block: ir.Model) -> Callable[[], ir.Model]:
        def opened() -> ir.Model:
            self.opened += 1
            return block

        return opened


def samples(runner: BlockRunner) -> CalibrationSet:
    return open_dataset({"x": X}).bind(runner.inputs)


def kept(counted: Counted, folder: Path) -> tuple[RecordedRunner, list[int]]:
    steps: list[int] = []
    made = recorded(counted.runner, samples(counted.runner), 3, folder / "kept", steps.append)
    return made, steps


@pytest.mark.parametrize("n", ["n", 4])
def test_each_block_is_opened_once_for_all_samples(n: int | str, tmp_path: Path) -> None:
    counted = Counted(n)
    made, steps = kept(counted, tmp_path)
    assert (counted.opened, steps) == (2, [1, 1])
    for batch in samples(counted.runner).batches(3):
        for _ in range(2):
            found = predict(made, batch.inputs, len(batch))
            assert counted.opened == 2
        expected = predict(Counted(n).runner, batch.inputs, len(batch))
        for name in ("z", "y"):
            np.testing.assert_array_equal(found[name], expected[name])


def test_a_call_that_is_not_known_is_run(tmp_path: Path) -> None:
    counted = Counted("n")
    made, _ = kept(counted, tmp_path)
    other = {"x": X[:3] + 1}
    found = made.bind(other)()
    assert counted.opened == 4
    np.testing.assert_array_equal(found["y"], -other["x"])


def test_only_what_is_read_later_is_kept(tmp_path: Path) -> None:
    made, _ = kept(Counted("n"), tmp_path)
    assert set(made.run({"x": X[:3]})) == {"z", "y"}
    files = sorted((tmp_path / "kept").iterdir())
    assert len(files) == 4
    assert sum(file.stat().st_size for file in files) < 2 * X.nbytes + 8 * 128 + 1
