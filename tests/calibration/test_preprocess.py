"""Preprocessing against its formula, and what it refuses."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from calibration.dataset import open_dataset
from calibration.preprocess import Preprocess, apply_preprocess, undo_normalization
from compressor.errors import DataError

PIXELS = np.random.default_rng(0).integers(0, 256, (4, 5, 6, 3), np.uint8)


def test_uint8_nhwc_becomes_normalized_float_nchw():
    mean, std = (0.4, 0.5, 0.6), (0.1, 0.2, 0.3)
    preprocess = Preprocess(layout="nhwc-to-nchw", scale=1 / 255, mean=mean, std=std)
    found = apply_preprocess(PIXELS, preprocess, "data")
    expected = ((PIXELS.astype(np.float64) / 255 - mean) / std).transpose(0, 3, 1, 2)
    assert found.dtype == np.float32 and found.flags.c_contiguous
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-5)


@given(
    scale=st.none() | st.floats(0.01, 10),
    mean=st.none() | st.tuples(st.floats(-5, 5)) | st.tuples(*[st.floats(-5, 5)] * 3),
    std=st.none() | st.tuples(st.floats(0.1, 5)) | st.tuples(*[st.floats(0.1, 5)] * 3),
    layout=st.sampled_from(["keep", "nhwc-to-nchw"]),
)
def test_formula(scale, mean, std, layout):
    preprocess = Preprocess(layout=layout, scale=scale, mean=mean, std=std)
    found = apply_preprocess(PIXELS, preprocess, "data")
    expected = (PIXELS * (scale or 1.0) - (mean or 0.0)) / (std or 1.0)
    if layout != "keep":
        expected = expected.transpose(0, 3, 1, 2)
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-4)
    assert found.dtype == (np.float32 if preprocess.normalizes else np.uint8)
    assert found.flags.c_contiguous


def test_layouts_are_inverse_and_keep_the_type():
    there = apply_preprocess(PIXELS, Preprocess(layout="nhwc-to-nchw"), "data")
    assert there.dtype == np.uint8 and there.shape == (4, 3, 5, 6)
    back = apply_preprocess(there, Preprocess(layout="nchw-to-nhwc"), "data")
    np.testing.assert_array_equal(back, PIXELS)
    shifted = apply_preprocess(there, Preprocess(layout="nchw-to-nhwc", mean=(1, 2, 3)), "data")
    np.testing.assert_array_equal(shifted, PIXELS - np.float32([1, 2, 3]))


def test_kept_layout_finds_the_channels():
    mean = (1.0, 2.0, 3.0)
    first = apply_preprocess(np.zeros((2, 3, 8, 8), np.float32), Preprocess(mean=mean), "data")
    last = apply_preprocess(np.zeros((2, 8, 8, 3), np.float32), Preprocess(mean=mean), "data")
    flat = apply_preprocess(np.zeros((2, 3), np.float32), Preprocess(mean=mean), "data")
    np.testing.assert_array_equal(first[0, :, 0, 0], [-1, -2, -3])
    np.testing.assert_array_equal(last[0, 0, 0], [-1, -2, -3])
    np.testing.assert_array_equal(flat[1], [-1, -2, -3])


def test_stored_values_are_not_written_to():
    values = np.ones((2, 3), np.float32)
    apply_preprocess(values, Preprocess(scale=5), "data")
    np.testing.assert_array_equal(values, 1)


def test_scale_may_be_a_fraction():
    assert Preprocess(scale="1/255").scale == pytest.approx(1 / 255)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"std": (1.0, 0.0, 1.0)}, "std must be above zero"),
        ({"std": (1.0, -1.0)}, "std must be above zero"),
        ({"mean": ()}, "mean must be one or more finite numbers"),
        ({"mean": (float("nan"),)}, "mean must be one or more finite numbers"),
        ({"mean": (1, 2), "std": (1, 2, 3)}, "mean has 2 entries and std has 3"),
        ({"scale": 0}, "scale must be finite and not zero"),
        ({"scale": "1/0"}, "scale"),
        ({"crop": 0}, "crop"),
        ({"size": (0, 3)}, "size"),
        ({"layout": "nchw"}, "layout"),
    ],
)
def test_nonsense_is_refused(fields, message):
    with pytest.raises(ValidationError, match=message):
        Preprocess(**fields)


def test_one_entry_goes_with_three():
    found = apply_preprocess(PIXELS, Preprocess(mean=(1, 2, 3), std=(2,)), "data")
    np.testing.assert_array_equal(found, (PIXELS - np.float32([1, 2, 3])) / 2)


def test_layout_needs_four_dimensions():
    with pytest.raises(
        DataError, match=r"layout nhwc-to-nchw expects four dimensions, found \[7\]"
    ):
        open_dataset(np.zeros((3, 7)), preprocess=Preprocess(layout="nhwc-to-nchw"))


def test_mean_must_have_a_channel_axis():
    with pytest.raises(DataError, match=r"2 entries, and no channel axis of \[5, 6, 3\]"):
        open_dataset(PIXELS, preprocess=Preprocess(mean=(1, 2)))
    with pytest.raises(DataError, match="no channel axis"):  # the layout says which axis it is
        open_dataset(
            PIXELS.transpose(0, 3, 1, 2),
            preprocess=Preprocess(layout="nhwc-to-nchw", mean=(1, 2, 3)),
        )


def test_stored_images_are_not_resized():
    assert len(open_dataset(PIXELS, preprocess=Preprocess(size=(5, 6)))) == 4
    with pytest.raises(DataError, match=r"expected images of size \[224, 224\], found .*5,6,3"):
        open_dataset(PIXELS, preprocess=Preprocess(size=(224, 224)))


def test_several_inputs_preprocess_only_images():
    arrays = {
        "pixels": PIXELS,
        "input_ids": np.ones((4, 9), np.int64),
        "weights": np.ones((4, 9), np.float32),
    }
    data = open_dataset(arrays, preprocess=Preprocess(scale=2.0, layout="nhwc-to-nchw"))
    assert [str(f) for f in data.fields] == [
        "pixels:float32[batch,3,5,6]",
        "input_ids:int64[batch,9]",
        "weights:float32[batch,9]",
    ]
    np.testing.assert_array_equal(data.head(4).inputs["weights"], 1)
    del arrays["pixels"]
    with pytest.raises(DataError, match="preprocessing applies to those of four dimensions"):
        open_dataset(arrays, preprocess=Preprocess(scale=2.0))


def test_a_single_input_is_preprocessed_whatever_it_is():
    data = open_dataset(np.ones((2, 4), np.int16), preprocess=Preprocess(scale=0.5))
    np.testing.assert_array_equal(data.head(2).inputs["input"], np.full((2, 4), 0.5, np.float32))


@given(
    scale=st.none() | st.floats(0.01, 10),
    mean=st.none() | st.tuples(st.floats(-5, 5)) | st.tuples(*[st.floats(-5, 5)] * 3),
    std=st.none() | st.tuples(st.floats(0.1, 5)) | st.tuples(*[st.floats(0.1, 5)] * 3),
    layout=st.sampled_from(["keep", "nhwc-to-nchw"]),
)
def test_normalization_can_be_undone(scale, mean, std, layout):
    preprocess = Preprocess(layout=layout, scale=scale, mean=mean, std=std)
    found = undo_normalization(apply_preprocess(PIXELS, preprocess, "data"), preprocess, "data")
    stored = PIXELS if layout == "keep" else PIXELS.transpose(0, 3, 1, 2)
    np.testing.assert_allclose(found, stored, rtol=1e-4, atol=1e-2)


@pytest.mark.parametrize("spelled", ["nhwc->nchw", "NHWC-nchw", "nhwc2nchw", "nhwc_to_nchw"])
def test_layouts_may_be_spelled_as_elsewhere(spelled):
    assert Preprocess(layout=spelled).layout == "nhwc-to-nchw"


def test_layouts_that_mean_nothing_are_refused():
    with pytest.raises(ValueError, match="nhwc-to-nchw"):
        Preprocess(layout="hwc")
