"""Range methods on distributions whose answer is known."""

from itertools import product

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from calibration.observers import MinMax, Observed
from calibration.ranges import find_method, method_names
from calibration.scheme import Scheme, dequantize, params_from_range, quantize
from compressor.errors import DataError, UsageError

UINT8, INT8 = Scheme("uint8", symmetric=False), Scheme("int8", symmetric=True)
FP8 = Scheme("float8e4m3fn", symmetric=True)
SCHEMES = (UINT8, Scheme("int8", symmetric=False), INT8, Scheme("uint8", symmetric=True), FP8)
NORMAL = np.random.default_rng(0).standard_normal(200_000).astype(np.float32)
RELU = np.maximum(NORMAL, 0)
finite = st.floats(-(2.0**60), 2.0**60, width=32)


def propose(name: str, values: np.ndarray, scheme: Scheme = UINT8) -> tuple[float, float]:
    return find_method(name).propose(Observed.of(values), scheme)


def error(values: np.ndarray, span: tuple[float, float], scheme: Scheme = UINT8) -> float:
    params = params_from_range(*span, scheme)
    return float(np.mean((dequantize(quantize(values, params), params) - values) ** 2))


def test_methods_are_found_by_their_file_names():
    assert method_names() == ["entropy", "minmax", "mse", "percentile", "samples"]


@example(np.array([1, -1e-45], np.float32))
@given(hnp.arrays(np.float32, st.integers(1, 50), elements=finite))
def test_no_method_leaves_what_was_seen(values: np.ndarray):
    seen = Observed.of(values)
    for name, scheme in product(method_names(), SCHEMES):
        low, high = find_method(name).propose(seen, scheme)
        assert min(seen.low, 0) <= low <= high
        assert high <= max(seen.high, 0)
        assert np.isfinite([low, high]).all()
        params_from_range(low, high, scheme)


@pytest.mark.parametrize("name", ["entropy", "mse", "percentile"])
@pytest.mark.parametrize("value", [0.0, 3.0, -2.0])
def test_a_constant_keeps_its_value(name: str, value: float):
    values = np.full(1000, value, np.float32)
    params = params_from_range(*propose(name, values), UINT8)
    np.testing.assert_allclose(
        dequantize(quantize(values, params), params), values, rtol=0.01, atol=0
    )


@pytest.mark.parametrize("percent", [99.0, 99.9, 99.99])
def test_percentiles_are_those_of_numpy_within_a_bin(percent: float):
    low, high = propose(f"percentile:{percent}", NORMAL)
    assert high == pytest.approx(np.percentile(NORMAL, percent), rel=0.02)
    assert low == pytest.approx(np.percentile(NORMAL, 100 - percent), rel=0.02)
    low, high = propose(f"percentile:{percent}", NORMAL, INT8)
    assert high == pytest.approx(np.percentile(abs(NORMAL), percent), rel=0.02)
    assert low == -high


def test_a_percentile_of_100_is_min_and_max():
    assert propose("percentile:100", NORMAL) == propose("minmax", NORMAL)
    assert propose("percentile", NORMAL) == propose("percentile:99.99", NORMAL)


@pytest.mark.parametrize("text", ["high", "", "50", "101", "nan"])
def test_bad_percentiles_are_refused(text: str):
    with pytest.raises(UsageError, match="percentile"):
        find_method(f"percentile:{text}")


def test_a_parameter_that_nobody_takes_is_refused():
    with pytest.raises(UsageError, match="no parameter"):
        find_method("minmax:3")


def test_unknown_range_method_lists_the_known():
    with pytest.raises(UsageError) as caught:
        find_method("entropie")
    assert all(name in str(caught.value) for name in ("auto", *method_names()))


@pytest.mark.parametrize("scheme", SCHEMES)
@pytest.mark.parametrize("values", [NORMAL, RELU, NORMAL**3, -RELU], ids=["n", "relu", "n3", "-"])
def test_mse_is_near_the_least_of_an_exhaustive_search(values: np.ndarray, scheme: Scheme):
    values = values[:20_000]
    ends = np.linspace(0.1, 1, 37)
    low, high = values.min(), values.max()
    best = min(error(values, (low * a, high * b), scheme) for a, b in product(ends, ends))
    assert error(values, propose("mse", values, scheme), scheme) <= 1.03 * best


@pytest.mark.parametrize("scheme", [UINT8, INT8])
def test_entropy_clips_the_far_tail_and_keeps_the_bulk(scheme: Scheme):
    for values in (RELU, NORMAL, 1000 * NORMAL):
        _, high = propose("entropy", values, scheme)
        assert 3.0 <= high / values.std() / (1 if values is not RELU else 1.7) <= values.max()
        assert high <= values.max()


@pytest.mark.parametrize("far", [1e2, 1e4, 1e8])
@pytest.mark.parametrize("scheme", [UINT8, INT8])
def test_one_outlier_does_not_move_entropy_and_percentile(far: float, scheme: Scheme):
    dirty = np.append(RELU, np.float32(far))
    for name in ("entropy", "percentile"):
        _, high = propose(name, dirty, scheme)
        assert 2.5 < high < 8
    assert propose("minmax", dirty, scheme)[1] == np.float32(far)


def test_methods_that_need_a_histogram_say_so():
    with pytest.raises(DataError, match="extremes only"):
        find_method("mse").propose(Observed(MinMax(-1, 1)), UINT8)


@pytest.mark.parametrize("scheme", [UINT8, INT8])
def test_one_broken_sample_of_many_is_left_out_whole(scheme: Scheme):
    rows = np.random.default_rng(0).uniform(-1, 2, (100, 50)).astype(np.float32)
    _, clean = propose("samples", rows, scheme)
    rows[17] *= 100
    assert propose("samples", rows, scheme)[1] == pytest.approx(clean, rel=0.02)
    assert propose("percentile", rows, scheme)[1] > 100, "half a percent of the elements"
    assert propose("samples:100", rows, scheme)[1] == rows.max()


def test_of_few_samples_none_is_left_out():
    rows = np.random.default_rng(0).uniform(0, 1, (8, 50)).astype(np.float32)
    rows[3, 4] = 9
    assert propose("samples", rows)[1] == pytest.approx(9, rel=0.01)


@pytest.mark.parametrize("values", [NORMAL, RELU, NORMAL**3], ids=["n", "relu", "n3"])
def test_of_8_bit_floats_clipping_gains_next_to_nothing(values: np.ndarray):
    """Their steps are a share of the value; what was seen is as good a range as any."""
    seen = propose("minmax", values, FP8)
    assert propose("entropy", values, FP8) == seen
    assert error(values, seen, FP8) <= 1.2 * error(values, propose("mse", values, FP8), FP8)
    assert error(values, seen, INT8) > 1.2 * error(values, propose("mse", values, INT8), INT8)
