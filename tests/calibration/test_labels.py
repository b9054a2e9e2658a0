"""Which array holds the labels."""

import numpy as np
import pytest
from tensor_specs import spec

from calibration.dataset import open_dataset
from compressor.errors import DataError


def test_an_array_called_as_an_input_is_no_label():
    data = open_dataset({"x": np.ones((2, 3)), "y": np.zeros((2, 3))})
    assert data.has_labels
    bound = data.bind([spec("x:float32[batch,3]"), spec("y:float32[batch,3]")])
    assert not bound.has_labels and list(bound.head(1).inputs) == ["x", "y"]


@pytest.mark.parametrize("name", ["label", "labels", "y", "target", "targets", "Label"])
def test_names_of_labels(name):
    data = open_dataset({"image": np.ones((2, 3)), name: np.arange(2)})
    assert data.has_labels and [f.name for f in data.fields] == ["image"]


def test_labels_alone_are_an_input_and_two_are_an_error():
    assert not open_dataset({"y": np.ones((2, 3))}).has_labels
    data = open_dataset({"x": np.ones((2, 3)), "y": np.ones(2), "label": np.ones(2)})
    with pytest.raises(DataError, match="expected one array of labels, found y and label"):
        data.bind([spec("x:float32[batch,3]")])


def test_an_input_called_as_labels_often_are_stands_beside_labels():
    arrays = {"y": np.arange(2), "x": np.ones((2, 3)), "label": np.arange(2) + 5}
    bound = open_dataset(arrays).bind([spec("x:float32[batch,3]"), spec("y:int64[batch]")])
    batch = bound.head(2)
    np.testing.assert_array_equal(batch.inputs["y"], [0, 1])
    np.testing.assert_array_equal(batch.labels, [5, 6])
