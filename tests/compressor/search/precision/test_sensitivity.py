"""The error at the outputs, whatever they hold."""

import numpy as np
import pytest

from compressor.evaluation.metrics.base import BASELINE, RESULT
from compressor.search.precision.sensitivity import _energies


def energies(before, after, samples):
    return _energies({BASELINE: {"y": before}, RESULT: {"y": after}}, samples)


def test_energy_of_each_sample():
    y = np.arange(6, dtype=np.float32).reshape(2, 3)
    np.testing.assert_allclose(energies(y, y + 1, 2), [[5, 3], [50, 3]])


@pytest.mark.parametrize("dtype", [np.int64, object])
def test_decisions_err_where_they_differ(dtype):
    y = np.array([[1, 2, 3], [4, 5, 6]]).astype(dtype)
    other = y.copy()
    other[1, 2] = 0
    np.testing.assert_allclose(energies(y, other, 2), [[6, 1]])


def test_rows_that_one_lacks_are_errors():
    y = np.ones((5, 4), np.float32)
    np.testing.assert_allclose(energies(y, y[:3], 1), [[20, 8]])
