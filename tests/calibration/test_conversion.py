"""Stored values become those that the model takes, or are refused."""

import numpy as np
import pytest
from tensor_specs import spec

from calibration.dataset import open_dataset
from compressor.errors import DataError


@pytest.mark.parametrize(
    ("stored", "wanted"),
    [
        (np.float64, "float32"),
        (np.float16, "float32"),
        (np.float32, "float16"),
        (np.float64, "float64"),
        (np.int32, "int64"),
        (np.int64, "int32"),
        (np.uint8, "int64"),
        (np.bool_, "int64"),
        (np.int64, "bool"),
    ],
)
def test_types_convert_without_loss(stored, wanted):
    values = np.array([[0, 1], [1, 0]], stored)
    batch = open_dataset(values).bind([spec(f"x:{wanted}[batch,2]")]).head(2)
    assert batch.inputs["x"].dtype == np.dtype(wanted)
    np.testing.assert_array_equal(batch.inputs["x"].astype(stored), values)


def test_double_stays_exact_for_a_double_input():
    values = np.full((2, 1), 1 + 2**-40)
    batch = open_dataset(values).bind([spec("x:float64[batch,1]")]).head(2)
    np.testing.assert_array_equal(batch.inputs["x"], values)


@pytest.mark.parametrize(
    ("values", "wanted", "offender"),
    [
        (np.array([[1], [2**40], [3]]), "int32", str(2**40)),
        (np.array([[1], [2], [-3]]), "uint8", "-3"),
        (np.array([[1], [2**63]], np.uint64), "int64", str(2**63)),
        (np.array([[1], [2]]), "bool", "2"),
    ],
)
def test_integers_that_do_not_fit_are_named(values, wanted, offender):
    data = open_dataset(values).bind([spec(f"x:{wanted}[batch,1]")])
    row = int(np.flatnonzero(values.astype(object) == int(offender))[0])
    with pytest.raises(DataError, match=f"fit {wanted}, found {offender} in sample {row}"):
        data.head(3)
