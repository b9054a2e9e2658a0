"""Which outputs belong to samples, and along which axis."""

import numpy as np
import pytest

from compressor.errors import UsageError
from compressor.evaluation.outputs import paired_outputs, primary_output

SAMPLES = 5


def normal(*shape: int) -> np.ndarray:
    return np.random.default_rng(0).standard_normal(shape).astype(np.float32)


@pytest.mark.parametrize(
    ("shape", "axis"), [((2, SAMPLES, 8), 1), ((7, SAMPLES, 8), 1), ((7, 2, SAMPLES, 8), 2)]
)
def test_the_samples_of_a_recurrent_output_become_rows(shape: tuple[int, ...], axis: int):
    output, other = normal(*shape), -normal(*shape)
    pairs = list(paired_outputs({"y": output}, {"y": other}, SAMPLES, "cosine"))
    assert len(pairs) == 1
    for found, array in zip(pairs[0], (output, other), strict=True):
        for sample in range(SAMPLES):
            np.testing.assert_array_equal(found[sample], array.take(sample, axis).reshape(-1))


def test_where_one_output_has_its_samples_first_only_such_count():
    outputs = {"states": normal(2, SAMPLES, 8), "y": normal(SAMPLES, 8)}
    name, found = primary_output(outputs, SAMPLES, "accuracy")
    assert (name, found.shape) == ("y", (SAMPLES, 8))
    assert len(list(paired_outputs(outputs, outputs, SAMPLES, "cosine"))) == 1


@pytest.mark.parametrize("shape", [(), (3,), (3, SAMPLES), (3, 4, SAMPLES)])
def test_outputs_of_no_sample_are_refused(shape: tuple[int, ...]):
    with pytest.raises(UsageError, match="one row for each of the 5 samples"):
        primary_output({"y": normal(*shape)}, SAMPLES, "accuracy")
