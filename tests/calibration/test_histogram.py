import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from calibration.histogram import Histogram
from calibration.observers import Observed

finite = st.floats(allow_nan=False, allow_infinity=False, width=32)
arrays = hnp.arrays(np.float32, st.integers(0, 80), elements=finite)


@given(arrays)
def test_every_element_is_in_its_bin(values: np.ndarray):
    bins = Histogram.of(values).bins()
    assert bins.counts.sum() + bins.zeros == len(values)
    assert np.all(bins.lower < bins.upper)
    assert np.all(bins.upper[:-1] <= bins.lower[1:])
    inside = (values >= bins.lower[:, None]) & (values <= bins.upper[:, None])
    assert np.all(inside.sum(1) >= bins.counts)


@given(st.floats(2.0**-100, 2.0**100, width=32), st.booleans())
def test_a_bin_is_at_most_a_128th_of_its_value_wide(value: float, negative: bool):
    value = -value if negative else value
    bins = Histogram.of(np.array([value], np.float32)).bins()
    assert bins.lower[0] <= value <= bins.upper[0]
    assert bins.upper[0] - bins.lower[0] <= abs(value) / 128


@given(arrays, arrays)
def test_merging_is_counting_both(one: np.ndarray, other: np.ndarray):
    both = Histogram.of(one).merge(Histogram.of(other))
    assert both == Histogram.of(np.concatenate([one, other]))
    assert both == Histogram.of(other).merge(Histogram.of(one))


def test_zeros_are_in_no_bin_and_nothing_lies_beyond_the_extremes():
    seen = Observed.of(np.array([0.0, -0.0, 1.005, -3.001], np.float32))
    bins = seen.bins()
    assert bins.zeros == 2
    assert bins.lower[0] == seen.low
    assert bins.upper[-1] == seen.high


def test_mirrored_and_folded():
    bins = Histogram.of(np.array([-4, -1, 2, 3], np.float32)).bins()
    again = bins.mirrored().mirrored()
    np.testing.assert_array_equal(again.lower, bins.lower)
    folded = bins.magnitudes()
    np.testing.assert_array_equal(folded.lower, [1, 2, 3, 4])
    np.testing.assert_array_equal(folded.counts, [1, 1, 1, 1])
