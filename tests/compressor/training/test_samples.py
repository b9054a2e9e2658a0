"""Any sample at any step: in memory or in files, of one shape or of several."""

import numpy as np
import pytest

from calibration.dataset import CalibrationSet, open_dataset
from compressor.graph.tensors import TensorSpec
from compressor.training.samples import Samples, gather

X = np.arange(300, dtype=np.float32).reshape(100, 3)
SPEC = TensorSpec("x", np.dtype(np.float32), ("batch", 3))


def data_of(x: np.ndarray = X) -> CalibrationSet:
    return open_dataset({"x": x, "label": np.arange(len(x)) % 7}).bind([SPEC])


def drawn(samples: Samples, epoch: int) -> np.ndarray:
    parts = [group.rows(rows)[0]["x"] for group, rows in samples.batches(32, 0, epoch)]
    return np.concatenate(parts)


@pytest.mark.parametrize("memory", [10**9, 0, 900])
def test_a_pass_draws_each_sample_once_wherever_they_lie(memory: int) -> None:
    samples = gather(data_of(), fixed=None, memory=memory, batch=16)
    assert (samples.folder is None) == (memory == 10**9)
    assert len(samples) == 100
    assert samples.has_labels
    assert samples.steps_of_epoch(32) == 3
    rows = drawn(samples, 0)
    assert len(np.unique(rows[:, 0])) == len(rows) == 96
    np.testing.assert_array_equal(rows, drawn(samples, 0))
    assert not np.array_equal(rows, drawn(samples, 1))


def test_a_fixed_batch_is_filled_up() -> None:
    samples = gather(data_of(X[:10]), fixed=4, memory=10**9)
    counts = [len(inputs["x"]) for inputs, _, _ in samples.in_order(64)]
    assert counts == [4, 4, 4]
    assert all(len(rows) == 4 for _, rows in samples.batches(64, 0, 0))


def test_samples_of_several_shapes_share_no_call() -> None:
    calls = [{"x": np.ones((2, length), np.float32)} for length in (3, 5, 3, 4)]
    data = open_dataset(calls).bind([TensorSpec("x", np.dtype(np.float32), ("batch", "length"))])
    samples = gather(data, fixed=None, memory=10**9)
    assert sorted(group.count for group in samples.calls) == [2, 2, 4]
    assert len(samples.batches(4, 0, 0)) == samples.steps_of_epoch(4) == 3
