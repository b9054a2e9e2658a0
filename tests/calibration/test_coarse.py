"""Histograms for the report: nothing is lost in them, and the clipped share is what it says."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from calibration.coarse import BINS, coarse
from calibration.observers import MinMax, Observed
from calibration.scheme import Scheme, params_from_range
from compressor.errors import DataError

UINT8 = Scheme("uint8", symmetric=False)
finite = st.floats(-1e6, 1e6, width=32)


@given(st.lists(finite, min_size=1, max_size=60), st.tuples(finite, finite))
def test_every_element_is_in_a_bin(values: list[float], ends: tuple[float, float]):
    observed = Observed.of(np.array([values], np.float32))
    found = coarse(observed, params_from_range(min(ends), max(ends), UINT8))
    assert sum(found.counts) == len(values)
    assert min(found.counts) >= 0
    assert 1 <= len(found.counts) <= BINS + 2
    assert len(found.edges) == len(found.counts) + 1
    assert list(found.edges) == sorted(set(found.edges))
    assert found.edges[0] <= min(values)
    assert found.edges[-1] >= max(values)
    assert found.low <= 0 <= found.high
    assert 0 <= found.clipped <= 1


def test_counts_are_those_of_the_values():
    values = np.random.default_rng(0).standard_normal((64, 1000)).astype(np.float32)
    found = coarse(Observed.of(values), params_from_range(-3, 3, UINT8))
    expected, _ = np.histogram(values, found.edges)
    # The collected bins are up to 0.8 % wide and lie across these.
    assert np.abs(np.array(found.counts) - expected).max() < 0.02 * expected.max()


def test_the_clipped_share_begins_half_a_step_outside():
    values = np.random.default_rng(0).standard_normal((64, 1000)).astype(np.float32)
    params = params_from_range(-2, 1, UINT8)
    found = coarse(Observed.of(values), params)
    half = float(params.scale) / 2
    outside = ((values < found.low - half) | (values > found.high + half)).mean()
    assert found.clipped == pytest.approx(outside, rel=0.01)
    whole = params_from_range(float(values.min()), float(values.max()), UINT8)
    assert coarse(Observed.of(values), whole).clipped == 0


def test_a_far_outlier_leaves_the_rest_its_bins():
    values = np.random.default_rng(0).uniform(0, 1, (40, 100)).astype(np.float32)
    values[7, 7] = 500.0
    found = coarse(Observed.of(values), params_from_range(0, 1, UINT8))
    assert found.edges[-1] == 500.0
    assert found.counts[-1] == 1
    assert sum(count > 0 for count in found.counts) > 60
    assert found.clipped == pytest.approx(1 / 4000)


def test_zeros_are_in_the_bin_that_holds_zero():
    values = np.zeros((4, 100), np.float32)
    values[:, 0] = 2.0
    found = coarse(Observed.of(values), params_from_range(0, 2, UINT8))
    assert found.counts[0] == 396
    assert found.counts[-1] == 4


def test_extremes_alone_make_no_histogram():
    with pytest.raises(DataError, match="extremes only"):
        coarse(Observed(MinMax(0, 1)), params_from_range(0, 1, UINT8))
