"""Statistics do not depend on batches, windows or shards; they are those of the values."""

import numpy as np
import pytest
from graphs import model, residual
from hypothesis import given, settings
from hypothesis import strategies as st

from calibration.collect import collect, extremes, layout_of, windows
from calibration.dataset import open_dataset
from calibration.observers import Observed
from calibration.sampling import ELEMENTS, Sampling
from calibration.stats import merged
from compressor.errors import DataError

# Powers of two and small whole numbers: exact in float32, whatever the order of summation.
WHOLE = np.random.default_rng(0).integers(-8, 8, (21, 3, 16, 16)).astype(np.float32)
VALUES = ("x", "a", "t", "s")


def mixed():
    """Values with the samples along axis 0, along axis 1, and along none."""
    return model(
        """g (float[n,3,16,16] x, float[3,16,16] w) => (float[3,n,16,16] t, float[n,3,16,16] y)
        {
            a = Add(x, w)
            t = Transpose<perm=[1,0,2,3]>(a)
            s = Neg(w)
            y = Mul(x, s)
        }""",
        w=[3, 16, 16],
    )


def seen(batch: int, **more):
    return collect(mixed(), VALUES, open_dataset({"x": WHOLE}), batch=batch, **more).observed


def test_statistics_are_those_of_the_values():
    found = seen(8)
    assert found["x"] == Observed.of(WHOLE)
    assert found["a"].histogram == found["t"].histogram, "a transposed tensor counts the same"
    assert found["s"].histogram.total == 21 * 3 * 16 * 16, "a constant counts once a sample"


@pytest.mark.parametrize("opset", [13, 17])
def test_graphs_of_older_opsets_are_observed_alike(opset: int):
    older = mixed()
    older.opset_imports[""] = opset
    assert collect(older, VALUES, open_dataset({"x": WHOLE}), batch=8).observed == seen(8)


def test_values_may_be_as_long_as_the_data_says():
    cut = model(
        """g (float[n,32] x, int64[n,1] k) => (float[n,m] y)
        <int64[1] zero = {0}, int64[1] one = {1}>
        {
            longest = ReduceMax<keepdims=0>(k)
            end = Unsqueeze(longest, zero)
            y = Slice(x, zero, end, one)
        }"""
    )
    x, k = WHOLE.reshape(21, -1)[:, :32], np.arange(21)[:, None] + 5
    data = open_dataset({"x": x, "k": k})
    found = collect(cut, ("y",), data, batch=1).observed["y"]
    kept = np.concatenate([row[:end] for row, (end,) in zip(x, k, strict=True)])
    assert (found.extremes.low, found.extremes.high) == (kept.min(), kept.max())
    assert found.histogram.total == kept.size


@settings(max_examples=8, deadline=None)
@given(st.integers(1, 22), st.sampled_from([None, 1_500_000]))
def test_neither_batches_nor_windows_matter(batch: int, memory: int | None):
    assert seen(batch, memory=memory) == seen(21)


@settings(max_examples=6, deadline=None)
@given(st.integers(1, 4), st.integers(1, 8))
def test_shards_merge_to_one_pass(of: int, batch: int):
    data = open_dataset({"x": np.random.default_rng(1).standard_normal((40, 32, 8, 8), np.float32)})
    values = ("x", "r1", "s", "f")
    whole = collect(residual(), values, data, batch=batch)
    shards = [data.shard(i, of, batch) for i in range(1, of + 1)]
    assert sum(len(shard) for shard in shards) == 40
    parts = [
        collect(residual(), values, shard, batch=batch).of_data(str(i))
        for i, shard in enumerate(shards)
    ]
    together = merged(parts[::-1])
    assert together.observed == whole.observed
    assert together.samples == whole.samples


def test_a_baked_in_batch_counts_no_sample_twice():
    graph = model("g (float[8,4] x) => (float[8,4] y) { y = Neg(x) }")
    values = np.random.default_rng(0).standard_normal((11, 4)).astype(np.float32)
    found = collect(graph, ["x", "y"], open_dataset({"x": values})).observed
    assert found["x"] == Observed.of(values)
    assert found["y"] == Observed.of(-values)


def test_large_samples_are_counted_in_part_and_their_extremes_in_full():
    values = np.zeros((3, 300, 301), np.float32)
    values[1, 17, 33] = 7.0
    graph = model("g (float[n,300,301] x) => (float[n,300,301] y) { y = Neg(x) }")
    found = collect(graph, ["y"], open_dataset({"x": values})).observed["y"]
    assert found.low == -7.0
    assert 0.9 * ELEMENTS * 3 <= found.histogram.total <= ELEMENTS * 3


@given(st.integers(1, 10**8))
def test_the_stride_never_divides_the_width(elements: int):
    how = Sampling(0, elements)
    assert np.gcd(how.stride, elements) == 1
    assert how.counted <= ELEMENTS


def test_memory_cuts_the_values_into_windows_and_the_batch():
    data = open_dataset({"x": WHOLE})
    layout = layout_of(mixed(), VALUES, data)
    assert len(windows(VALUES, layout, 8, None)) == 1
    cut = windows(VALUES, layout, 8, 1_300_000)
    assert [name for window in cut for name in window] == list(VALUES)
    assert len(cut) == 4
    told: list[int] = []
    collect(mixed(), VALUES, data, batch=8, memory=1_300_000, advance=told.append)
    assert sum(told) == 21


def test_extremes_alone_are_enough_when_asked():
    found = seen(8, histograms=False)
    assert found["a"].histogram.total == 0
    assert found["a"].extremes == seen(8)["a"].extremes


def test_a_shard_that_does_not_exist_is_refused():
    with pytest.raises(DataError, match="3/2"):
        open_dataset({"x": WHOLE}).shard(3, 2, 8)


def test_extremes_may_be_infinite_and_are_numbers():
    graph = model("g (float[n,4] x) => (float[n,4] y) { y = Log(x) }")
    data = open_dataset({"x": np.array([[1, 0, 1, 1], [1, 1, np.e, 1]], np.float32)})
    seen = extremes(graph, ["y"], data, batch=1)["y"]
    assert (seen.low, seen.high) == (-np.inf, pytest.approx(1.0))
    with pytest.raises(DataError, match="'y' is not finite"):
        extremes(graph, ["y"], open_dataset({"x": -np.ones((2, 4), np.float32)}))


@pytest.mark.parametrize("histograms", [False, True])
@pytest.mark.parametrize("batch", [1, 4])
def test_what_is_no_number_in_places_is_looked_past(batch: int, histograms: bool):
    graph = model("g (float[n,4] x) => (float[n,4] y) { y = Log(x) }")
    rows = [[1, 0, 1, 1], [1, 1, np.e, 1], [-1, -1, -1, -1], [np.exp(-2), -1, 0, 1]]
    data, told = open_dataset({"x": np.array(rows, np.float32)}), list[str]()
    stats = collect(graph, ["y"], data, batch=batch, histograms=histograms, gapped=told.append)
    assert told == ["y"]
    seen = stats.observed["y"]
    assert (seen.low, seen.high) == (pytest.approx(-2.0), pytest.approx(1.0))


def test_what_is_nowhere_a_number_has_no_range():
    graph = model("g (float[n,4] x) => (float[n,4] y) { y = Log(x) }")
    with pytest.raises(DataError, match="'y' is not finite"):
        collect(graph, ["y"], open_dataset({"x": -np.ones((2, 4), np.float32)}))
