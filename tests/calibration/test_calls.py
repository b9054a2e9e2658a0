"""A sample is a call: shapes of its own, inputs along their own axes, values for all or for one."""

import numpy as np
import pytest

from calibration import chunks
from calibration.batch import Batch
from calibration.dataset import CalibrationSet, open_dataset
from calibration.fields import Signature
from compressor.errors import DataError
from tests.calibration.test_axes import spec

X = spec("x:float32[batch,n]")


def lengths(*sizes: tuple[int, int]) -> list[dict[str, np.ndarray]]:
    """Calls of so many samples of such lengths, every sample with values of its own."""
    counts = np.cumsum([0, *(count for count, _ in sizes)])
    return [
        {"x": np.arange(start, start + n, dtype=np.float32)[:, None] + np.zeros((1, k), np.float32)}
        for (n, k), start in zip(sizes, counts, strict=False)
    ]


def shapes(data: CalibrationSet, size: int) -> list[tuple[int, ...]]:
    return [batch.inputs["x"].shape for batch in data.batches(size)]


def test_calls_of_other_lengths_are_grouped_by_shape():
    data = open_dataset(lengths((2, 5), (2, 7), (3, 5), (1, 7), (2, 3))).bind([X])
    assert sorted(shapes(data, 4)) == [
        (1, 5),
        (2, 3),
        (3, 7),
        (4, 5),
    ]
    seen = np.concatenate([batch.inputs["x"][:, 0] for batch in data.batches(4)])
    index = np.concatenate([batch.index for batch in data.batches(4)])
    assert seen.tolist() == index.tolist() and sorted(index) == list(range(10))
    assert len(data) == 10 and data.calls(4) == 4


def test_inputs_whose_sizes_differ_from_call_to_call_are_known():
    calls = [{**call, "k": np.ones((len(call["x"]), 2))} for call in lengths((2, 5), (3, 7))]
    assert open_dataset(calls).varied == {"x"}
    assert open_dataset(lengths((2, 5), (3, 5))).varied == frozenset()
    assert open_dataset({"x": np.ones((4, 5))}).varied == frozenset()


def test_a_state_that_is_stored_once_is_that_of_every_sample():
    state = np.arange(6, dtype=np.float32).reshape(2, 1, 3)
    data = open_dataset({"x": np.ones((5, 4), np.float32), "h": state})
    bound = data.bind([spec("x:float32[batch,4]"), spec("h:float32[2,batch,3]")])
    for batch in bound.batches(2):
        expected = np.repeat(state, len(batch), axis=1)
        np.testing.assert_array_equal(batch.inputs["h"], expected)


def test_the_fingerprint_does_not_depend_on_the_batch():
    calls = lengths((2, 5), (2, 7), (3, 5), (1, 7))
    prints = set()
    for size in (1, 2, 3, 100):
        data = open_dataset(calls).bind([X])
        list(data.batches(size))
        prints.add(data.fingerprint())
    assert len(prints) == 1


def test_no_more_is_held_than_told(monkeypatch):
    monkeypatch.setattr(chunks, "HELD_BYTES", 100)
    calls = lengths(*((1, 3 + i % 10) for i in range(50)))
    data = open_dataset(calls).bind([X])
    held = shapes(data, 5)
    assert sum(n for n, _ in held) == 50 and max(n for n, _ in held) < 5


def test_a_sample_is_of_the_commonest_shape():
    data = open_dataset(lengths((2, 5), (9, 7), (3, 5))).bind([X])
    assert data.sample(4).inputs["x"].shape == (4, 7)
    assert data.sample(50).inputs["x"].shape == (9, 7)


def state_calls(*sizes: int) -> list[dict[str, np.ndarray]]:
    rng = np.random.default_rng(0)
    calls = []
    for n in sizes:
        x = rng.standard_normal((n, 4)).astype(np.float32)
        calls.append({"x": x, "h": np.stack([x * 2, x * 3])})
    return calls


INPUTS = [spec("h:float32[2,batch,4]"), spec("x:float32[batch,4]")]


def check_states(batch: Batch) -> None:
    np.testing.assert_array_equal(batch.inputs["h"][0], batch.inputs["x"] * 2)
    np.testing.assert_array_equal(batch.inputs["h"][1], batch.inputs["x"] * 3)
    assert batch.inputs["h"].flags.c_contiguous


@pytest.mark.parametrize("size", [1, 2, 3, 7, 64])
def test_no_state_is_bound_to_another_sample(size):
    data = open_dataset(state_calls(2, 5, 1, 3)).bind(INPUTS)
    assert len(data) == 11 and next(len(b) for b in data.batches(size)) == min(size, 11)
    for view in (data, *data.split(0.5, 0), data.take(4)):
        for batch in view.batches(size):
            check_states(batch)
            assert batch.inputs["h"].shape == (2, len(batch), 4)
            again = batch.filled(5)
            np.testing.assert_array_equal(again["h"][0], again["x"] * 2)


@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
def test_states_in_a_file_are_cut_along_their_axis(tmp_path, monkeypatch, save):
    monkeypatch.setattr("calibration.sources.base.CHUNK_BYTES", 1)
    (call,) = state_calls(70)
    save(tmp_path / "data.npz", **call)
    data = open_dataset(tmp_path / "data.npz").bind(INPUTS)
    assert len(data) == 70
    for batch in data.batches(9):
        check_states(batch)
    stored_first = {"x": call["x"], "h": np.moveaxis(call["h"], 1, 0)}
    for batch in open_dataset(stored_first).bind(INPUTS).batches(9):
        check_states(batch)


def test_one_value_for_all_is_fed_as_it_is():
    inputs = [spec("x:float32[batch,2]"), spec("rate:int64[]"), spec("s:float32[3]")]
    arrays = {"x": np.ones((6, 2)), "rate": np.int64(16000), "s": np.arange(3.0)}
    for batch in open_dataset(arrays).bind(inputs).batches(4):
        assert batch.inputs["rate"].shape == () and batch.inputs["rate"] == 16000
        assert batch.inputs["s"].tolist() == [0, 1, 2]
        assert batch.rows(slice(1))["s"].tolist() == [0, 1, 2]


def test_samples_share_a_call_where_their_values_for_it_are_equal():
    inputs = [spec("x:float32[batch,1]"), spec("t:int64[]")]
    times = np.array([5, 3, 5, 5, 3, 9])
    arrays = {"x": np.arange(6.0)[:, None], "t": times}
    batches = list(open_dataset(arrays).bind(inputs).batches(2))
    for batch in batches:
        assert set(times[batch.inputs["x"][:, 0].astype(int)]) == {int(batch.inputs["t"])}
    assert sorted(len(b) for b in batches) == [1, 1, 2, 2]


def test_values_of_calls_stay_with_them():
    inputs = [spec("x:float32[batch,1]"), spec("t:int64[1]")]
    calls = [{"x": np.full((3, 1), t, np.float32), "t": np.array([t])} for t in (4, 8, 4)]
    for batch in open_dataset(calls).bind(inputs).batches(5):
        assert set(batch.inputs["x"][:, 0]) == {float(batch.inputs["t"][0])}


def test_several_entries_of_a_sample_stay_together():
    inputs = [spec("x:float32[batch,1]"), spec("b:int64[batch*3,2]")]
    x = np.arange(8.0)[:, None]
    b = np.repeat(np.arange(8), 3)[:, None] + np.zeros((1, 2), int)
    for batch in open_dataset({"x": x, "b": b}).bind(inputs).split(0.5, 1)[0].batches(3):
        assert np.repeat(batch.inputs["x"][:, 0], 3).tolist() == batch.inputs["b"][:, 0].tolist()


def test_a_size_that_is_the_number_of_samples_by_accident_counts_none():
    inputs = [spec("x:float32[batch,2]"), spec("table:float32[k,2]")]
    calls = [{"x": np.ones((n, 2)), "table": np.ones((4, 2))} for n in (4, 4, 3)]
    batches = list(open_dataset(calls).bind(inputs).batches(2))
    assert {b.inputs["table"].shape for b in batches} == {(4, 2)} and sum(map(len, batches)) == 11


def test_arrays_of_exactly_the_fixed_shapes_are_one_call():
    inputs = [spec("a:float32[3,4]"), spec("b:float32[4,3]"), spec("c:int64[]")]
    arrays = {"a": np.ones((3, 4)), "b": np.ones((4, 3)), "c": np.int64(2)}
    data = open_dataset(arrays).bind(inputs)
    (batch,) = data.batches(32)
    assert len(data) == 1 and {n: a.shape for n, a in batch.inputs.items()} == {
        "a": (3, 4),
        "b": (4, 3),
        "c": (),
    }


def test_a_file_of_several_calls_must_keep_what_is_baked_in(tmp_path):
    np.savez(tmp_path / "1.npz", x=np.ones((2, 3)))
    np.savez(tmp_path / "2.npz", x=np.ones((2, 4)))
    assert [f.shape for f in open_dataset(tmp_path).bind([X]).fields] == [("batch", 3)]
    assert shapes(open_dataset(tmp_path).bind([X]), 8) == [(2, 3), (2, 4)]
    with pytest.raises(DataError, match=r"expected x:float32\[batch,3\], found \[2, 4\] in the ca"):
        list(open_dataset(tmp_path).bind([spec("x:float32[batch,3]")]).batches(8))


def test_a_value_for_all_has_the_axes_that_the_model_takes():
    inputs = [spec("x:float32[batch,1]"), spec("t:int64[steps]"), spec("u:int64[1]")]
    calls = [{"x": np.ones((3, 1)), "t": np.int64(t), "u": np.int64(t)} for t in (4, 8)]
    for batch in open_dataset(calls).bind(inputs).batches(5):
        assert batch.inputs["t"].shape == batch.inputs["u"].shape == (1,)
    each = {"x": np.ones((4, 1)), "t": np.int64(1), "u": np.array([1, 1, 2, 2])}
    assert [b.inputs["u"].tolist() for b in open_dataset(each).bind(inputs).batches(5)] == [
        [1],
        [2],
    ]


def test_an_input_called_as_labels_often_are_is_an_input():
    arrays = {"z": np.ones((4, 3)), "y": np.arange(4)}
    known = Signature(("z", "y"), 2)
    assert [f.name for f in open_dataset(arrays).told(known).fields] == ["z", "y"]
    pair = open_dataset((arrays["z"], arrays["y"])).told(known)
    assert len(pair.fields) == 2 and not pair.has_labels
    three = open_dataset((arrays["z"], arrays["y"], np.ones((4, 9)))).told(known)
    assert len(three.fields) == 2 and three.has_labels
    optional = Signature(("x", "mask"), 1)
    assert open_dataset((np.ones((4, 3)), np.arange(4))).told(optional).has_labels
    assert not open_dataset((np.ones((4, 3)), np.ones((4, 3)))).told(optional).has_labels


def test_the_label_of_a_call_of_one_may_be_a_number():
    data = open_dataset([({"x": np.ones((1, 3))}, i) for i in range(5)])
    assert [b.labels.tolist() for b in data.batches(2)] == [[0, 1], [2, 3], [4]]
