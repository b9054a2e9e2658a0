"""Numbers for what a model draws: of each sample its own, however samples share calls."""

import numpy as np
import pytest

from calibration.dataset import open_dataset
from calibration.noise import NoiseInputs
from compressor.graph.draws import Draw
from compressor.graph.tensors import TensorSpec

F = np.dtype(np.float32)
X = np.arange(24, dtype=np.float32).reshape(8, 3)


def spec(name, *shape):
    return TensorSpec(name, F, shape)


def drawing(*drawn, fed=("batch", 3), kinds=("normal",)):
    draws = {s.name: Draw(k, i) for i, (s, k) in enumerate(zip(drawn, kinds, strict=True))}
    noise = NoiseInputs((spec("x", *fed),), drawn, draws)
    return open_dataset({"x": X}).bind([spec("x", *fed)]).drawing(noise)


def test_a_sample_has_the_same_numbers_in_every_call():
    data = drawing(spec("noise", "batch", 5))
    whole = next(data.batches(8)).inputs["noise"]
    assert whole.shape == (8, 5)
    parts = [batch.inputs["noise"] for batch in data.batches(3)]
    np.testing.assert_array_equal(np.concatenate(parts), whole)
    taken = next(data.take(4).batches(4))
    np.testing.assert_array_equal(taken.inputs["noise"], whole[taken.index])
    np.testing.assert_array_equal(taken.rows([2])["noise"], whole[taken.index[2:3]])
    assert len(np.unique(whole)) == whole.size


def test_samples_lie_where_the_size_that_counts_them_is():
    data = drawing(spec("noise", 2, "2*batch", 5))
    batch = next(data.batches(8))
    assert batch.inputs["noise"].shape == (2, 16, 5)
    assert batch.rows([3])["noise"].shape == (2, 2, 5)


def test_what_a_call_shares_is_one_draw_a_call():
    data = drawing(spec("noise", 1, 5))
    first, second = (batch.inputs["noise"] for batch in data.batches(4))
    assert first.shape == (1, 5)
    assert not np.array_equal(first, second)


def test_a_call_of_more_than_the_model_takes_has_numbers_for_all():
    data = drawing(spec("noise", 4, 5), fed=(4, 3))
    assert next(data.batches(8)).inputs["noise"].shape == (8, 5)


def test_the_content_of_data_is_told_without_what_is_drawn():
    data = open_dataset({"x": X}).bind([spec("x", "batch", 3)])
    assert drawing(spec("noise", "batch", 5)).fingerprint() == data.fingerprint()


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
def test_uniform_numbers_are_below_one_in_every_type(dtype):
    drawn = Draw("uniform").array((4000,), np.dtype(dtype), [0])
    assert drawn.dtype == dtype
    assert 0 <= drawn.min() < 0.01
    assert 0.99 < drawn.max() < 1
    assert abs(Draw("normal").array((4000,), F, [0]).std() - 1) < 0.05
