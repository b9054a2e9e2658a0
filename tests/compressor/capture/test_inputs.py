"""Inputs: the notation of --input, arrays of any size, and what samples and declarations decide."""

import ml_dtypes
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from compressor.capture.choice import bind_samples, choose_inputs
from compressor.capture.inputs import Inputs, sized
from compressor.errors import CaptureError, DataError, UsageError
from compressor.graph.tensors import TensorSpec
from compressor.recipe.notation import parse_input

dimensions = st.one_of(
    st.integers(1, 999), st.from_regex(r"[a-z_][a-z0-9_]{0,7}", fullmatch=True), st.none()
)
specs = st.builds(
    TensorSpec,
    name=st.from_regex(r"[A-Za-z_][A-Za-z0-9_.:/]{0,9}", fullmatch=True),
    dtype=st.sampled_from(["float32", "float16", "int64", "uint8", "bool"]).map(np.dtype),
    shape=st.lists(dimensions, max_size=5).map(tuple),
)


@given(specs)
def test_notation_round_trips(spec):
    assert parse_input(str(spec)) == spec


def test_notation_knows_bfloat16_and_spaces():
    spec = parse_input(" x:bfloat16[ batch, 3 ] ")
    assert spec == TensorSpec("x", np.dtype(ml_dtypes.bfloat16), ("batch", 3))


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("image", "name:dtype"),
        ("image:float32", "name:dtype"),
        (":float32[1]", "name:dtype"),
        ("image:float[1]", "unknown type 'float'"),
        ("image:float32[0]", "'0'"),
        ("image:float32[-1]", "'-1'"),
        ("image:float32[2,,3]", "''"),
        ("image:float32[a b]", "'a b'"),
    ],
)
def test_notation_says_what_is_wrong(text, found):
    with pytest.raises(UsageError, match="input") as info:
        parse_input(text)
    assert found in info.value.message


@given(
    samples=st.integers(1, 6), batch=st.integers(1, 6), length=st.integers(1, 5),
    offset=st.integers(0, 9),
)  # fmt: skip
def test_arrays_are_cut_from_samples_and_repeat(samples, batch, length, offset):
    array = np.arange(samples * 5, dtype=np.float32).reshape(samples, 5)
    spec = TensorSpec("x", array.dtype, ("batch", "length"))
    inputs = sized((spec,), {"x": array}).resized({"batch": batch, "length": length})
    found = inputs.shifted(offset).arrays()["x"]
    rows = [(offset + i) % samples for i in range(batch)]
    np.testing.assert_array_equal(found, array[rows][:, :length])
    assert found.flags.c_contiguous


def test_seeded_arrays_are_reproducible_and_safe_as_indices():
    own = (
        TensorSpec("ids", np.dtype("int64"), ("batch", 50)),
        TensorSpec("x", np.dtype("float32"), ("batch", 50)),
        TensorSpec("flag", np.dtype("bool"), ("batch",)),
    )
    inputs = sized(own, {})
    one, other, later = inputs.arrays(), inputs.arrays(), inputs.shifted(1).arrays()
    for name in one:
        np.testing.assert_array_equal(one[name], other[name])
    assert set(np.unique(one["ids"])) == {0, 1}
    assert not np.array_equal(one["x"], later["x"])
    assert not inputs.real


def test_samples_decide_and_only_the_batch_is_dynamic():
    inputs = choose_inputs((), {"x": np.ones((8, 3, 4), np.float32), "n": np.ones(8, np.int32)})
    assert [str(s) for s in inputs.specs] == ["x:float32[batch,3,4]", "n:int32[batch]"]
    assert inputs.sizes == {"batch": 2}
    assert (inputs.batch, inputs.real) == (2, True)


def test_declared_names_refine_samples():
    examples = {"x": np.ones((8, 3, 4), np.float32)}
    inputs = choose_inputs((parse_input("whatever:float32[n,?,width]"),), examples)
    assert [str(s) for s in inputs.specs] == ["x:float32[n,x_dim1,width]"]
    assert inputs.sizes == {"n": 2, "x_dim1": 3, "width": 4}


def test_a_declared_batch_counts_for_every_input():
    examples = {"x": np.ones((8, 3), np.float32), "y": np.ones((8, 2), np.float32)}
    inputs = choose_inputs((parse_input("x:float32[1,3]"),), examples)
    assert [str(s) for s in inputs.specs] == ["x:float32[1,3]", "y:float32[1,2]"]
    assert {name: a.shape for name, a in inputs.arrays().items()} == {"x": (1, 3), "y": (1, 2)}


def test_inputs_that_do_not_share_the_leading_size_are_fixed():
    examples = {"x": np.ones((8, 3), np.float32), "anchors": np.ones((5, 2), np.float32)}
    inputs = choose_inputs((), examples)
    assert [str(s) for s in inputs.specs] == ["x:float32[batch,3]", "anchors:float32[5,2]"]


@pytest.mark.parametrize(
    ("declared", "found"),
    [
        ("x:uint8[batch,3]", "uint8"),
        ("x:float32[batch,4]", "float32[batch,4]"),
        ("x:float32[batch]", "float32[batch]"),
        ("y:float32[batch,3]", "declares y"),
    ],
)
def test_declarations_that_contradict_samples_are_refused(declared, found):
    examples = {"x": np.ones((8, 3), np.float32), "z": np.ones((8, 3), np.float32)}
    with pytest.raises(CaptureError) as info:
        choose_inputs((parse_input(declared),), examples)
    assert found in info.value.message


def test_equal_names_must_be_equal_sizes():
    declared = (parse_input("x:float32[batch,n]"), parse_input("y:float32[batch,n]"))
    examples = {"x": np.ones((8, 3), np.float32), "y": np.ones((8, 4), np.float32)}
    with pytest.raises(DataError, match=r"size 4 along axis 1 of 'y', where .* say n=3"):
        choose_inputs(declared, examples)


def test_declared_twice_is_refused_and_nothing_is_none():
    with pytest.raises(CaptureError, match="twice: x, x"):
        choose_inputs((parse_input("x:float32[1]"),) * 2, None)
    assert choose_inputs((), None) is None


def test_fixed_bakes_every_size_in():
    inputs = choose_inputs((parse_input("x:float32[batch,n]"),), None)
    assert inputs.symbols == ("batch", "n")
    assert [str(s) for s in inputs.fixed().specs] == ["x:float32[2,16]"]
    assert (inputs.fixed().symbols, inputs.fixed().batch_symbol) == ((), None)
    assert Inputs((TensorSpec("s", np.dtype("float32"), ()),)).batch == 1


def test_one_sample_array_binds_by_position_several_by_name():
    image = TensorSpec("input.1", np.dtype("float32"), ("batch", 3))
    mask = TensorSpec("mask", np.dtype("bool"), (None, "n"))
    assert list(bind_samples([image], {"x": np.ones((4, 3), np.float32)}, "it")) == ["input.1"]
    both = {"mask": np.ones((4, 9), bool), "input.1": np.ones((4, 3), np.float32)}
    assert set(bind_samples([image, mask], both, "it")) == {"input.1", "mask"}
    with pytest.raises(CaptureError, match=r"it takes input.1:float32.*data has x, mask"):
        bind_samples([image, mask], {"x": both["input.1"], "mask": both["mask"]}, "it")
    with pytest.raises(CaptureError, match=r"data has input.1:float32\[4,2\]"):
        bind_samples([image], {"x": np.ones((4, 2), np.float32)}, "it")
    with pytest.raises(CaptureError, match=r"data has input.1:int64\[4,3\]"):
        bind_samples([image], {"x": np.ones((4, 3), np.int64)}, "it")


def test_samples_convert_and_leave_out_as_a_calibration_set_does():
    own = [
        TensorSpec("ids", np.dtype("int64"), ("batch",)),
        TensorSpec("x", np.dtype("float16"), ("batch", 3)),
    ]
    arrays = {"x": np.ones((4, 3), np.float32), "ids": np.arange(4, dtype=np.int32)}
    for examples in (
        {**arrays, "unused": np.ones(4)},
        {"input_0": arrays["ids"], "input_1": arrays["x"]},
        {"input_0": arrays["ids"], "input_1": arrays["x"], "input_2": np.ones(4)},
    ):
        found = bind_samples(own, examples, "it")
        assert {name: array.dtype.name for name, array in found.items()} == {
            "ids": "int64",
            "x": "float16",
        }
