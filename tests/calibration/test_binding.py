"""Binding data to a model's inputs: names, types, shapes, labels, and hints when they differ."""

import numpy as np
import pytest

from calibration.dataset import open_dataset
from calibration.preprocess import Preprocess
from compressor.errors import DataError
from compressor.graph.tensors import TensorSpec


def spec(text: str) -> TensorSpec:
    """`x:float32[batch,3]` as a TensorSpec."""
    name, rest = text.split(":")
    dtype, sizes = rest.rstrip("]").split("[")
    shape = tuple(int(s) if s.isdigit() else None if s == "?" else s for s in sizes.split(","))
    return TensorSpec(name, np.dtype(dtype), shape)


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


@pytest.mark.parametrize(
    ("stored", "wanted", "message", "hint"),
    [
        (np.uint8, "x:float32[batch,3,8,8]", "found input:uint8", "--scale 1/255"),
        (np.int64, "x:float32[batch,3,8,8]", "found input:int64", "--scale 1 "),
        (np.float32, "x:int64[batch,3,8,8]", "found input:float32", "store 'input' as int64"),
        (np.float32, "x:float32[batch,8,3,9]", r"found input:float32\[batch,3,8,8\]", None),
        (np.float32, "x:float32[batch,3,9,9]", r"float32\[batch,3,9,9\]", "--image-size HxW"),
        (np.float32, "x:float32[batch,8,8,3]", "found input", "--layout nchw-to-nhwc"),
        (np.float32, "x:float32[batch,h,h,3]", "found input", "--layout nchw-to-nhwc"),
        (np.float32, "x:float32[batch,3,8]", r"\[batch,3,8\], found", None),
        (np.float32, "x:float32[batch,9,3,8,8]", "found", "stack them into batches"),
    ],
)
def test_misfits_say_expected_found_and_what_to_do(stored, wanted, message, hint):
    data = open_dataset(np.ones((2, 3, 8, 8), stored))
    with pytest.raises(DataError, match=message) as error:
        data.bind([spec(wanted)])
    assert (hint in error.value.hint) if hint else (error.value.hint is None)


def test_nhwc_bytes_for_a_float_nchw_model_get_both_hints():
    with pytest.raises(DataError) as error:
        open_dataset(np.ones((2, 8, 8, 3), np.uint8)).bind([spec("x:float32[batch,3,8,8]")])
    assert "--scale 1/255" in error.value.hint and "--layout nhwc-to-nchw" in error.value.hint
    assert "calibration data" in error.value.message


def test_a_layout_that_should_not_be_there_is_named():
    data = open_dataset(np.ones((2, 3, 8, 8)), preprocess=Preprocess(layout="nchw-to-nhwc"))
    with pytest.raises(DataError) as error:
        data.bind([spec("x:float32[batch,3,8,8]")])
    assert error.value.hint == "leave layout out"


def test_missing_channel_axis_is_named():
    with pytest.raises(DataError) as error:
        open_dataset(np.ones((2, 28, 28))).bind([spec("x:float32[batch,1,28,28]")])
    assert "images[:, None]" in error.value.hint


def test_normalized_data_for_an_integer_input():
    data = open_dataset(np.ones((2, 3), np.uint8), preprocess=Preprocess(scale=0.1))
    with pytest.raises(DataError) as error:
        data.bind([spec("x:uint8[batch,3]")])
    assert "leave scale, mean and std out" in error.value.hint


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


def test_symbolic_sizes_agree_across_inputs():
    inputs = [spec("a:float32[batch,seq]"), spec("b:float32[batch,seq,?]")]
    open_dataset({"a": np.ones((2, 5)), "b": np.ones((2, 5, 3))}).bind(inputs)
    with pytest.raises(DataError, match=r"expected b:float32\[batch,seq,\?\], found b:.*,6,3"):
        open_dataset({"a": np.ones((2, 5)), "b": np.ones((2, 6, 3))}).bind(inputs)


def test_a_baked_in_batch_does_not_matter_here():
    bound = open_dataset(np.ones((5, 2))).bind([spec("x:float32[1,2]")])
    assert len(bound) == 5 and bound.fields[0].shape == ("batch", 2)


def test_views_stay_bound_and_binding_keeps_views():
    data = open_dataset(np.arange(10.0).reshape(10, 1)).take(4)
    bound = data.bind([spec("x:float32[batch,1]")])
    assert len(bound) == 4
    used, _ = bound.split(0.5, 0)
    assert list(used.head(1).inputs) == ["x"]
