import ml_dtypes
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from calibration.scheme import FLOAT8, Scheme, dequantize, params_from_range, quantize

UINT8 = Scheme("uint8", symmetric=False)
INT8 = Scheme("int8", symmetric=True)
FP8 = Scheme("float8e4m3fn", symmetric=True)

finite = st.floats(-1e6, 1e6, allow_nan=False, width=32)


def test_seven_bits_stay_within_64():
    scheme = Scheme("int8", symmetric=True, bits=7)
    assert (scheme.qmin, scheme.qmax) == (-63, 63)


def test_relu_range_has_zero_point_at_the_least_integer():
    params = params_from_range(0.0, 6.0, UINT8)
    assert int(params.zero_point) == 0
    assert float(params.scale) == pytest.approx(6 / 255, rel=1e-6)


@given(finite, finite)
def test_zero_is_exact_and_range_is_covered(a: float, b: float):
    low, high = min(a, b), max(a, b)
    params = params_from_range(low, high, UINT8)
    zero = np.zeros(1, np.float32)
    assert dequantize(quantize(zero, params), params)[0] == 0.0
    edges = np.array([min(low, 0), max(high, 0)], np.float32)
    error = np.abs(dequantize(quantize(edges, params), params) - edges)
    # An end may move by half a step, because the zero point is rounded to an integer.
    assert np.all(error <= float(params.scale) * 1.01)


@given(st.lists(finite, min_size=1, max_size=50))
def test_round_trip_is_within_half_a_step(values: list[float]):
    array = np.array(values, np.float32)
    params = params_from_range(float(array.min()), float(array.max()), INT8)
    error = np.abs(dequantize(quantize(array, params), params) - array)
    assert np.all(error <= float(params.scale) * 0.5001)


def test_8_bit_floats_are_those_of_ml_dtypes():
    assert FP8.stored == FLOAT8 == np.dtype(ml_dtypes.float8_e4m3fn)
    codes = np.arange(256).astype(np.uint8).view(FLOAT8).astype(np.float32)
    finite_codes = np.unique(codes[np.isfinite(codes)])
    assert (FP8.qmin, FP8.qmax) == (finite_codes[0], finite_codes[-1])
    assert FP8.last_step == finite_codes[-1] - finite_codes[-2]


@given(st.lists(finite, min_size=1, max_size=50), st.floats(0.125, 4.0))
def test_8_bit_floats_go_to_their_nearest_and_saturate(values: list[float], share: float):
    array = np.array(values, np.float32)
    bound = float(np.abs(array).max()) * share
    params = params_from_range(-bound, bound, FP8)
    codes = quantize(array, params)
    assert codes.dtype == params.zero_point.dtype == FLOAT8
    found = dequantize(codes, params)
    assert np.isfinite(found).all()
    scaled = array / params.scale
    np.testing.assert_array_equal(codes, np.clip(scaled, -448, 448).astype(FLOAT8))
    # Three bits of mantissa: half a step is a sixteenth of the value, or 2⁻¹⁰ among subnormals.
    inside = np.abs(scaled) <= 448
    error = np.abs(found - array)[inside] / float(params.scale)
    assert np.all(error <= np.maximum(np.abs(scaled[inside]) / 16, 2.0**-10) * 1.0001)
    np.testing.assert_array_equal(quantize(found, params), codes)


@pytest.mark.parametrize("scheme", [UINT8, INT8, FP8])
def test_constant_zero_gets_a_valid_scale(scheme: Scheme):
    params = params_from_range(0.0, 0.0, scheme)
    assert float(params.scale) == 1.0


def test_tiny_range_does_not_give_scale_zero():
    params = params_from_range(0.0, 1e-44, UINT8)
    assert float(params.scale) > 0.0


def test_symmetric_uint8_has_zero_in_the_middle_and_covers_the_range():
    params = params_from_range(-3.0, 2.0, Scheme("uint8", symmetric=True))
    assert int(params.zero_point) == 128
    edges = np.array([-3.0, 0.0, 3.0], np.float32)
    np.testing.assert_allclose(dequantize(quantize(edges, params), params), edges, atol=1e-6)
