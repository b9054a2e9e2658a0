"""The comparison of a graph's outputs with its source's."""

import math

import ml_dtypes
import numpy as np
import pytest

from compressor.capture.parity import TOLERANCES, compare_outputs


def _compare(expected, found, computed_in="float32"):
    return compare_outputs({"y": expected}, {"y": found}, batch=2, computed_in=computed_in)


def test_figures_follow_their_formulas():
    expected = np.array([[1.0, -4.0], [0.0, 2.0]], np.float32)
    (figures,) = _compare(expected, expected + np.float32(0.5)).parity
    assert figures.max_absolute == 0.5
    assert figures.max_relative == 0.5 / 4
    absolute, relative = TOLERANCES["float32"]
    assert figures.tolerance == absolute + relative * 4
    assert (figures.batch, figures.output) == (2, "y")


@pytest.mark.parametrize(("factor", "passes"), [(0.9, True), (1.1, False)])
@pytest.mark.parametrize("dtype", ["float32", "float16", "bfloat16", "float64"])
def test_tolerance_by_type(dtype, factor, passes):
    absolute, relative = TOLERANCES[dtype]
    expected = np.array([3.0, -1.0])
    compared = _compare(expected, expected + factor * (absolute + relative * 3), dtype)
    assert bool(compared.failures) != passes
    if not passes:
        assert "output 'y' at batch 2: maximum error" in compared.failures[0]
        assert "tolerance" in compared.failures[0]


def test_the_coarsest_type_counts():
    half = np.ones(3, ml_dtypes.bfloat16)
    assert _compare(half, half, "float32").parity[0].tolerance == sum(TOLERANCES["bfloat16"])


def test_integers_are_equal_but_for_one_in_a_thousand():
    expected = np.arange(4000)
    found = expected.copy()
    assert not _compare(expected, found).notices
    found[:4] += 1
    compared = _compare(expected, found)
    assert not compared.failures
    assert compared.notices == ("output 'y' at batch 2: 4 of 4000 integers differ",)
    found[4] += 1
    assert _compare(expected, found).failures == (
        "output 'y' at batch 2: 5 of 4000 integers differ",
    )
    assert _compare(np.array([True]), np.array([False])).failures


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_not_finite_values_must_be_in_the_same_places(value):
    with_it = np.array([1.0, value], np.float32)
    compared = _compare(with_it, with_it.copy())
    assert not compared.failures
    assert compared.parity[0].max_absolute == 0
    assert "NaN or infinity" in _compare(with_it, np.ones(2, np.float32)).failures[0]
    assert "NaN or infinity" in _compare(np.ones(2, np.float32), with_it).failures[0]
    assert _compare(with_it, -with_it).failures


def test_shapes():
    expected = np.ones(5, np.float32)
    dropped = _compare(expected, np.ones((1, 5), np.float32))
    assert not dropped.failures
    assert "drops dimensions of size one" in dropped.notices[0]
    assert dropped.parity[0].max_absolute == 0
    other = _compare(expected, np.ones((5, 2), np.float32))
    assert "shape [5, 2] at batch 2, the source gives [5]" in other.failures[0]
    assert _compare(np.ones((2, 3)), np.ones((3, 2))).failures


def test_zero_and_empty_outputs():
    zero = np.zeros(3, np.float32)
    assert _compare(zero, zero).parity[0].max_relative == 0
    assert _compare(zero, zero + 1).parity[0].max_relative == math.inf
    empty = np.zeros((0, 3), np.float32)
    assert not _compare(empty, empty).failures
