"""The set: batches, views, fingerprint. Invariants hold however the data is cut."""

import numpy as np
import psutil
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from calibration.chunks import numbered
from calibration.dataset import CalibrationSet, open_dataset
from calibration.preprocess import Preprocess
from calibration.selection import ClassPart, Stratum
from compressor.errors import DataError
from compressor.graph.tensors import TensorSpec


def numbered_samples(n: int) -> dict[str, np.ndarray]:
    images = np.arange(n * 6, dtype=np.float32).reshape(n, 2, 3)
    return {"image": images, "label": np.arange(n)}


def cut(arrays: dict[str, np.ndarray], sizes: list[int]) -> list[dict[str, np.ndarray]]:
    edges = np.cumsum(sizes)
    parts = {name: np.split(array, edges) for name, array in arrays.items()}
    count = len(edges) + 1
    return [{name: pieces[i] for name, pieces in parts.items()} for i in range(count)]


def indices(data: CalibrationSet) -> list[int]:
    labels = [batch.labels for batch in data.batches(7)]
    return np.concatenate(labels).tolist()


@settings(deadline=None, max_examples=60)
@given(
    n=st.integers(1, 40),
    size=st.integers(1, 50),
    sizes=st.lists(st.integers(0, 15), max_size=6),
)
def test_any_chunking_gives_the_same_batches_and_fingerprint(n, size, sizes):
    arrays = numbered_samples(n)
    whole, pieces = open_dataset(arrays), open_dataset(cut(arrays, sizes))
    batches = list(pieces.batches(size))
    assert [len(b) for b in batches] == [size] * (n // size) + ([n % size] if n % size else [])
    assert [b.start for b in batches] == list(range(0, n, size))
    for expected, found in zip(whole.batches(size), batches, strict=True):
        np.testing.assert_array_equal(found.inputs["image"], expected.inputs["image"])
        np.testing.assert_array_equal(found.labels, expected.labels)
        assert found.inputs["image"].flags.c_contiguous
    assert pieces.fingerprint() == whole.fingerprint() == open_dataset(arrays).fingerprint()
    assert len(pieces) == n


@settings(deadline=None, max_examples=60)
@given(
    n=st.integers(2, 200),
    share=st.floats(0.001, 0.999),
    seed=st.integers(0, 2**32),
    sizes=st.lists(st.integers(0, 60), max_size=4),
)
def test_split_is_a_partition_with_the_right_share(n, share, seed, sizes):
    data = open_dataset(cut(numbered_samples(n), sizes))
    used, held_out = data.split(share, seed)
    first, second = indices(used), indices(held_out)
    assert sorted(first + second) == list(range(n))
    assert first == sorted(first) and second == sorted(second)
    assert len(used) == len(first) == min(max(round(share * n), 1), n - 1)
    assert len(held_out) == len(second) >= 1
    again = open_dataset(numbered_samples(n)).split(share, seed)
    assert indices(again[0]) == first


def test_split_draws_uniformly():
    data = open_dataset(numbered_samples(10))
    drawn = np.zeros(10)
    for seed in range(400):
        drawn[indices(data.split(0.3, seed)[0])] += 1
    # binomial(400, 0.3): four standard deviations are 37
    np.testing.assert_allclose(drawn, 120, atol=37)


def test_split_needs_two_samples_and_a_share():
    with pytest.raises(DataError, match="at least two samples to divide, found 1"):
        open_dataset(numbered_samples(1)).split(0.5, 0)
    with pytest.raises(DataError, match="share between 0 and 1, found 1"):
        open_dataset(numbered_samples(4)).split(1, 0)


@settings(deadline=None, max_examples=60)
@given(
    counts=st.lists(st.integers(1, 40), min_size=1, max_size=6).filter(
        lambda c: sum(c) >= 2 * len(c)
    ),
    share=st.floats(0.001, 0.999),
    seed=st.integers(0, 2**32),
    sizes=st.lists(st.integers(0, 60), max_size=4),
)
def test_split_gives_each_side_its_share_of_every_class(counts, share, seed, sizes):
    labels = np.repeat(np.arange(len(counts)) * 3 - 2, counts)
    labels = np.random.default_rng(seed).permutation(labels)
    n = len(labels)
    arrays = {"x": np.arange(n, dtype=np.float32)[:, None], "label": labels}
    used, held_out = open_dataset(cut(arrays, sizes)).split(share, seed)
    first, second = (
        np.concatenate([b.inputs["x"][:, 0] for b in side.batches(7)]).astype(int)
        for side in (used, held_out)
    )
    assert sorted([*first, *second]) == list(range(n))
    assert list(first) == sorted(first)
    chosen = min(max(round(share * n), 1), n - 1)
    assert len(used) == len(first) == chosen
    assert len(held_out) == n - chosen
    for label, count in zip(np.unique(labels), counts, strict=True):
        assert abs(np.sum(labels[first] == label) - count * chosen / n) < 1
    again, _ = open_dataset(arrays).split(share, seed)
    assert again.fingerprint() == used.fingerprint()
    assert used.description.endswith(
        f"{chosen} of {n} samples, drawn class by class by seed {seed})"
    )


def test_samples_of_rare_classes_are_as_likely_as_others():
    labels = np.array([0, 1, 1, 1, 2, 2, 2, 2, 2, 2])
    arrays = {"x": np.arange(10, dtype=np.float32)[:, None], "label": labels}
    data = open_dataset(arrays)
    drawn = np.zeros(10)
    for seed in range(400):
        for batch in data.split(0.3, seed)[0].batches(10):
            drawn[batch.inputs["x"][:, 0].astype(int)] += 1
    # binomial(400, 0.3): four standard deviations are 37
    np.testing.assert_allclose(drawn, 120, atol=37)


@pytest.mark.parametrize(
    "labels",
    [np.arange(12), np.repeat([0.5, 1.5], 6), np.zeros((12, 3), np.int64)],
    ids=["none repeats", "no integers", "many a sample"],
)
def test_labels_that_are_no_classes_do_not_divide(labels: np.ndarray):
    arrays = {"x": np.arange(12, dtype=np.float32)[:, None]}
    used, _ = open_dataset({**arrays, "label": labels}).split(0.5, 3)
    plain, _ = open_dataset(arrays).split(0.5, 3)
    assert used.description.endswith("6 of 12 samples, drawn by seed 3)")
    assert used.head(6).inputs["x"].tolist() == plain.head(6).inputs["x"].tolist()


def test_classes_are_counted_once_and_with_the_samples():
    passes = []

    def counted():
        passes.append(1)
        return [{"x": np.ones((8, 1), np.float32), "label": np.arange(8) % 2}]

    data = open_dataset(counted)
    before = len(passes)
    for seed in range(3):
        used, held_out = data.split(0.5, seed)
        assert len(used) == len(held_out) == 4
    assert len(passes) == before + 1


def test_a_label_that_was_not_counted_is_an_error():
    chunks = numbered(iter([{"x": np.ones((2, 1)), "label": np.array([1, 5])}]))
    part = ClassPart("label", (Stratum(1, 2, 1),), seed=0, complement=False)
    with pytest.raises(DataError, match="expected the labels of the first pass, found 5 in samp"):
        list(part(chunks))


def test_take_and_head_end_and_compose_with_split():
    def endless():
        while True:
            yield numbered_samples(3)

    data = open_dataset(endless).take(7)
    assert len(data) == len(indices(data)) == 7
    assert len(data.head(100)) == 7
    finite = open_dataset(numbered_samples(50))
    used, _ = finite.take(20).split(0.5, 3)
    assert set(indices(used.take(4))) < set(indices(used)) < set(indices(finite.take(20)))
    assert len(used.take(4)) == 4 and len(used.take(99)) == 10
    with pytest.raises(DataError, match="one sample or more, found 0"):
        finite.take(0)


def test_description_says_which_samples():
    data = open_dataset(numbered_samples(10))
    used, held_out = data.take(8).split(0.75, 5)
    first = "(a dict of arrays) (8 of 10 samples, drawn by seed 0"
    assert used.description == f"{first}, of these 6 of 8 samples, drawn by seed 5)"
    assert held_out.description == f"{first}, of these 2 of 8 samples, drawn by seed 5)"


def test_an_open_set_is_returned_as_it_is():
    data = open_dataset(numbered_samples(3))
    assert open_dataset(data) is data


def test_nan_and_inf_name_field_sample_and_count():
    arrays = numbered_samples(10)
    arrays["image"][5, 0, 1] = np.nan
    arrays["image"][6, 0, 0] = -np.inf  # as a mask may hold it: not counted
    arrays["image"][7, :, 0] = np.inf
    data = open_dataset(arrays)
    assert len(next(data.batches(4))) == 4
    with pytest.raises(
        DataError,
        match=r"'image': expected finite values, found 3 NaN or Inf in 2 of 4 samples, "
        r"the first in sample 5",
    ):
        list(data.batches(4))
    labels = {"x": np.ones((2, 2), np.float32), "y": np.array([1.0, np.nan])}
    with pytest.raises(DataError, match="'y': expected finite values"):
        open_dataset(labels).head(2)


def test_nan_is_named_by_its_place_in_the_file_also_after_a_split():
    clean = open_dataset(numbered_samples(20)).split(0.5, 0)
    arrays = numbered_samples(20)
    arrays["image"][13] = np.inf
    used, held_out = open_dataset(arrays).split(0.5, 0)
    broken, sound = (used, held_out) if 13 in indices(clean[0]) else (held_out, used)
    with pytest.raises(DataError, match="the first in sample 13"):
        list(broken.batches(20))
    assert len(indices(sound)) == 10


def test_double_becomes_float_and_integers_stay():
    data = open_dataset({"a": np.ones((2, 3)), "b": np.ones((2, 3), np.int16)})
    assert [f.dtype for f in data.fields] == [np.float32, np.int16]
    batch = data.head(2)
    assert batch.inputs["a"].dtype == np.float32 and batch.inputs["b"].dtype == np.int16
    huge = open_dataset(np.full((2, 2), 1e300))
    with pytest.raises(DataError, match="NaN or Inf"):
        huge.head(1)


def test_label_columns_stay_columns():
    batch = open_dataset({"x": np.ones((3, 2)), "y": np.array([[4], [5], [6]])}).head(3)
    np.testing.assert_array_equal(batch.labels, [[4], [5], [6]])


def test_what_is_drawn_is_spread_over_sorted_data_and_the_same_for_a_seed():
    def drawn(seed: int) -> list[int]:
        return indices(open_dataset(numbered_samples(1000), seed=seed).take(100))

    assert drawn(1) == sorted(drawn(1)) == drawn(1) != drawn(2)
    # hypergeometric: 25 of 100 in each quarter, four standard deviations are 16
    assert all(abs(count - 25) < 16 for count in np.histogram(drawn(1), 4, (0, 1000))[0])


def test_what_is_drawn_is_read_once():
    passes = []

    def counted():
        passes.append(1)
        return [numbered_samples(40)]

    data = open_dataset(counted)
    first = indices(data.take(8))
    before = len(passes)
    assert indices(data.take(8)) == first and len(data.sample(4)) == 4
    assert len(passes) == before + 2  # the sample is another draw: its shape, itself
    assert data.sample(4) is data.sample(4) and len(passes) == before + 2


def test_memory_does_not_grow_with_the_number_of_samples(tmp_path):
    """4,096 samples of 12 KB as float32 are 48 MB; the path from the file must hold few of them."""
    generator = np.random.default_rng(0)
    for n in (512, 4096):
        np.savez_compressed(
            tmp_path / f"{n}.npz", image=generator.integers(0, 99, (n, 32, 32, 3), np.uint8)
        )
    preprocess = Preprocess(layout="nhwc-to-nchw", scale=1 / 255)
    spec = TensorSpec("x", np.dtype(np.float32), ("batch", 3, 32, 32))
    process = psutil.Process()

    def growth(n: int) -> float:
        data = open_dataset(tmp_path / f"{n}.npz", preprocess=preprocess).bind([spec])
        before = process.memory_info().rss
        peak = max(process.memory_info().rss for _ in data.batches(32))
        return (peak - before) / 2**20

    growth(512)  # the allocator warms up
    assert growth(4096) - growth(512) < 8


def test_masks_of_minus_infinity_pass():
    mask = np.triu(np.full((3, 4, 4), -np.inf, np.float32), 1)
    data = open_dataset({"mask": mask})
    assert len(list(data.batches(2))) == 2
