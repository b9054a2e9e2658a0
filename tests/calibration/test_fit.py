"""What does not fit a model says what was expected, what was found, and what helps."""

import numpy as np
import pytest
from tensor_specs import spec

from calibration.dataset import open_dataset
from calibration.preprocess import Preprocess
from compressor.errors import DataError


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
    assert error.value.hint == "leave --layout out"


def test_missing_channel_axis_is_named():
    with pytest.raises(DataError) as error:
        open_dataset(np.ones((2, 28, 28))).bind([spec("x:float32[batch,1,28,28]")])
    assert "images[:, None]" in error.value.hint


def test_flattened_samples_are_to_be_reshaped():
    with pytest.raises(DataError) as error:
        open_dataset(np.ones((2, 192))).bind([spec("x:float32[batch,3,8,8]")])
    assert error.value.hint == "reshape the samples to [3, 8, 8]"


def test_normalized_data_for_an_integer_input():
    data = open_dataset(np.ones((2, 3), np.uint8), preprocess=Preprocess(scale=0.1))
    with pytest.raises(DataError) as error:
        data.bind([spec("x:uint8[batch,3]")])
    assert "leave --scale, --mean and --std out" in error.value.hint


def test_symbolic_sizes_agree_across_inputs():
    inputs = [spec("a:float32[batch,seq]"), spec("b:float32[batch,seq,?]")]
    open_dataset({"a": np.ones((2, 5)), "b": np.ones((2, 5, 3))}).bind(inputs)
    with pytest.raises(DataError, match=r"expected b:float32\[batch,seq,\?\], found b:.*,6,3"):
        open_dataset({"a": np.ones((2, 5)), "b": np.ones((2, 6, 3))}).bind(inputs)
