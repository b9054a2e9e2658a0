"""What is counted of samples that differ in length: bounded, and no element before another."""

import numpy as np
import onnx_ir as ir
import pytest
from graphs import model
from hypothesis import given, settings
from hypothesis import strategies as st

from calibration.collect import collect
from calibration.dataset import open_dataset
from calibration.observers import Observed
from calibration.sampling import DRAWN, ELEMENTS, Sampling, strided
from calibration.taps import Taps
from compressor.graph.session import open_session

LENGTHS = (7, 12, 33, 5, 70)


@pytest.fixture(scope="module")
def draw():
    """Positions in a sample of so many elements, as the graph draws them."""
    taps = Taps(model("g (float[n,m] x) => (float[n,m] y) { y = Identity(x) }"))
    rows = taps.values["x"]
    rows.dtype = ir.DataType.FLOAT
    name = taps.output(strided(taps, rows, Sampling(0, 9, alone=True, varies=True)))
    session = open_session(taps.finished())

    def positions(elements: int) -> np.ndarray:
        # Two numbers below 2^12 each, as float32 holds no larger one exactly.
        where = np.arange(elements)
        parts = np.stack([where // 4096, where % 4096]).astype(np.float32)
        high, low = session.run([name], {"x": parts})[0].astype(np.int64)
        return high * 4096 + low

    return positions


@settings(deadline=None, max_examples=25)
@given(st.integers(1, 4 * ELEMENTS))
def test_no_more_than_the_bound_and_all_of_what_is_short(draw, elements: int):
    found = draw(elements)
    assert len(found) == min(elements, ELEMENTS)
    assert np.all(np.diff(found) >= 0)
    if elements <= ELEMENTS:
        np.testing.assert_array_equal(found, np.arange(elements))
    assert 0 <= found[0] <= found[-1] < elements


@settings(deadline=None, max_examples=25)
@given(st.sampled_from([3, 16, 64, 97, 128, 768]), st.integers(2, 3000))
def test_every_column_of_every_length_is_seen_alike(draw, width: int, length: int):
    """Whatever the length, a column gets what chance would give it: within six deviations."""
    found = draw(width * length)
    counts = np.bincount(found % width, minlength=width)
    expected = len(found) / width
    assert np.abs(counts - expected).max() <= 6 * np.sqrt(expected) + 1


def test_no_part_of_a_sample_is_passed_over():
    assert np.all(np.floor(DRAWN * ELEMENTS) == np.arange(ELEMENTS))


def flattened():
    """Values with tokens in place of samples, heads beside them, and none of either."""
    return model(
        """g (float[n,s,4] x) => (float[n,s,4] y, float[s,s] d)
        <float[t,4] a, float[h,s,2] b, float[s,s] d>
        {
            tokens = Constant<value_ints=[-1,4]>()
            a = Reshape(x, tokens)
            shape = Shape<start=0,end=1>(x)
            length = Shape<start=1,end=2>(x)
            two = Constant<value_ints=[2]>()
            both = Mul(shape, two)
            heads = Concat<axis=0>(both, length, two)
            b = Reshape(x, heads)
            r = ReduceSum<keepdims=0>(x)
            zero = Sub(r, r)
            square = Concat<axis=0>(length, length)
            d = Expand(zero, square)
            y = Neg(x)
        }"""
    )


def test_calls_of_other_lengths_are_cut_into_samples_all_the_same():
    rng = np.random.default_rng(0)
    calls = [rng.integers(-8, 8, (2, s, 4)).astype(np.float32) for s in LENGTHS]
    names = ("x", "a", "b", "y", "d")

    def seen(parts):
        data = open_dataset(lambda: iter([{"x": part} for part in parts]))
        return collect(flattened(), names, data, batch=2).observed

    whole = seen(calls)
    every = [Observed.of(one) for one in calls]
    assert whole["x"].histogram.total == sum(call.size for call in calls)
    for name in ("x", "a", "b"):
        assert whole[name] == whole["x"], "the same elements, in other shapes"
    assert whole["x"].extremes.low == min(one.extremes.low for one in every)
    assert whole["d"].extremes.high == 0
