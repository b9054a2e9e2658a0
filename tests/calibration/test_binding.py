"""Binding data to a model's inputs by name, by position, and as views."""

import numpy as np
import pytest
from tensor_specs import spec

from calibration.dataset import open_dataset
from compressor.errors import DataError


def test_a_single_input_binds_by_position_and_keeps_its_labels():
    data = open_dataset({"image": np.ones((3, 2)), "label": np.arange(3)})
    bound = data.bind([spec("x:float32[batch,2]")])
    assert [str(f) for f in bound.fields] == ["x:float32[batch,2]"]
    batch = bound.head(3)
    assert list(batch.inputs) == ["x"]
    np.testing.assert_array_equal(batch.labels, [0, 1, 2])
    assert [str(f) for f in data.fields] == ["image:float32[batch,2]"]  # the first is as it was


def test_several_inputs_bind_by_name_in_the_models_order():
    data = open_dataset({"b": np.zeros((2, 3)), "a": np.ones((2, 4)), "extra": np.ones(2)})
    bound = data.bind([spec("a:float32[batch,4]"), spec("b:float32[batch,3]")])
    assert list(bound.head(1).inputs) == ["a", "b"]
    with pytest.raises(DataError, match=r"input_mask.*found .*mask.*: input_mask missing") as error:
        open_dataset({"ids": np.ones((2, 3)), "mask": np.ones((2, 3))}).bind(
            [spec("ids:float32[batch,3]"), spec("input_mask:float32[batch,3]")]
        )
    assert error.value.hint == "rename mask to input_mask"


def test_several_arrays_and_one_input_need_its_name():
    arrays = {"image": np.ones((2, 3)), "id": np.ones(2)}
    assert open_dataset(arrays).bind([spec("image:float32[batch,3]")]).fields[0].name == "image"
    with pytest.raises(DataError, match="x missing"):
        open_dataset(arrays).bind([spec("x:float32[batch,3]")])


def test_arrays_without_names_bind_by_position():
    integers = np.arange(3)
    data = open_dataset((np.ones((3, 2)), integers))
    assert data.has_labels and data.fields[0].name == "input"
    two = data.bind([spec("a:float32[batch,2]"), spec("b:int64[batch]")])
    assert not two.has_labels
    np.testing.assert_array_equal(two.head(3).inputs["b"], integers)
    pair = open_dataset((np.ones((3, 2)), np.zeros((3, 4))))
    assert not pair.has_labels and [f.name for f in pair.fields] == ["input_0", "input_1"]
    assert pair.bind([spec("x:float32[batch,2]")]).has_labels  # one more than inputs: the target


def test_a_baked_in_batch_does_not_matter_here():
    bound = open_dataset(np.ones((5, 2))).bind([spec("x:float32[1,2]")])
    assert len(bound) == 5 and bound.fields[0].shape == ("batch", 2)


def test_views_stay_bound_and_binding_keeps_views():
    data = open_dataset(np.arange(10.0).reshape(10, 1)).take(4)
    bound = data.bind([spec("x:float32[batch,1]")])
    assert len(bound) == 4
    used, _ = bound.split(0.5, 0)
    assert list(used.head(1).inputs) == ["x"]
